"""Who may write, and how a hand-over goes on from whatever a crash has left: the decisions of phases.handover."""

from enum import StrEnum

#: What the fence of a side that does not own the context answers to a write.
FENCED_SQLSTATE = "40S01"


class Resume(StrEnum):
    """What a hand-over has to do, read from both fences."""

    DONE = "done"  # the new owner is open
    ATTEMPT = "attempt"  # the old owner writes: close it behind the lock
    COMPLETE = "complete"  # nobody writes: an earlier hand-over was cut off after it closed the old owner


def resume(*, closing_writes: bool, opening_writes: bool) -> Resume:
    """Decide what is left of a hand-over; see Note [hand-over]."""
    if opening_writes:
        return Resume.DONE
    return Resume.ATTEMPT if closing_writes else Resume.COMPLETE


def next_epoch(*epochs: int) -> int:
    """An epoch above all that either fence has seen."""
    return max(epochs) + 1


def key_to_draw_from(ours: int, theirs: int, margin: int) -> int | None:
    """Where the new owner's key sequence must be moved to, or None when it is above all that the old one drew."""
    return theirs + margin if ours <= theirs else None
