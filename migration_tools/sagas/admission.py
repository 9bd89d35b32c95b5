"""What a participant does with a command: a pure function of what it has stored under the command's key.

Note [keys of a step]. Each half of a step has a row of its own, keyed by (saga, step, direction), inserted before
anything else is done. So of two deliveries at once the second waits for the first one's commit and finds its outcome.
To undo claims the row of doing first, as void where it is not there: a command that comes after its own compensation
then finds it and does nothing. A row of a failure is not kept: nothing was done, and the next attempt begins anew.
"""

from enum import StrEnum

from migration_tools.sagas.decisions import Outcome


class Stored(StrEnum):
    """What a step's row says."""

    DONE = "done"
    REJECTED = "rejected"
    VOID = "void"


class Course(StrEnum):
    """What is to be done with a command."""

    RUN = "run"
    ANSWER = "answer"
    NOTHING_TO_UNDO = "nothing to undo"


def course_of_doing(before: Stored | None) -> Course:
    """A command to do, by what its row said before we came."""
    return Course.RUN if before is None else Course.ANSWER


def course_of_undoing(doing: Stored | None, undoing: Stored | None) -> Course:
    """A command to undo, by the rows of doing and of undoing before we came; a missing one of doing becomes void."""
    if undoing is not None:
        return Course.ANSWER
    return Course.RUN if doing is Stored.DONE else Course.NOTHING_TO_UNDO


def answered(stored: Stored) -> Outcome:
    """What a stored row answers: a void step was never done, and never will be."""
    return Outcome.DONE if stored is Stored.DONE else Outcome.REJECTED
