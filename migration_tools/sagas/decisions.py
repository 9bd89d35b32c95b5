"""What a saga does next: a pure function of where it stands and what happened, the same one that tests explore.

Note [turning back]. A step that was rejected has no effect, and the answer is final: the saga turns back from the step
before it. A step that failed too often or never answered may have had its effect after all, so the saga undoes that
step too: the participant refuses to do later what was undone first (see sagas.admission), whatever order the two
commands arrive in. At the pivot there is no way to undo; so a pivot that does not answer is asked until it does.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from migration_tools.sagas.definition import Saga, Step


class Status(StrEnum):
    """Where a saga stands; the orchestrator writes it, anybody may read it."""

    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"


OPEN = (Status.RUNNING, Status.COMPENSATING)


class Direction(StrEnum):
    """Which half of a step a message is about; part of the key of idempotency."""

    DO = "do"
    UNDO = "undo"


class Outcome(StrEnum):
    """What became of a command: done, refused by the business for good, or failed without effect this time."""

    DONE = "done"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a saga stands: `attempt` counts the commands of the current step and direction, `alarm` is why to look."""

    status: Status = Status.RUNNING
    step: int = 0
    attempt: int = 1
    alarm: str = ""

    @property
    def direction(self) -> Direction:
        """Which way it goes."""
        return Direction.UNDO if self.status is Status.COMPENSATING else Direction.DO


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A participant's word."""

    step: str
    direction: Direction
    outcome: Outcome
    attempt: int
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The next progress; `act` says to send (or do) the current step now, `wait` when to look again, in seconds.

    `done` and `undone` name the step that has just been completed or compensated.
    """

    progress: Progress
    act: bool = False
    wait: float | None = None
    done: str = ""
    undone: str = ""


def begin(saga: Saga) -> Decision:
    """The first step."""
    return _ask(saga, Progress())


def heard(saga: Saga, at: Progress, answer: Answer) -> Decision | None:
    """What an answer leads to; None when it says nothing new: late, repeated, or of a saga that has ended."""
    if at.status not in OPEN or answer.direction is not at.direction or saga.place(answer.step) != at.step:
        return None
    if answer.outcome is Outcome.DONE:
        return _forward(saga, at) if at.direction is Direction.DO else _backward(saga, at)
    if answer.outcome is Outcome.REJECTED and may_refuse(saga, at):
        return _turn_back(saga, replace(at, alarm=""), at.step - 1)
    if answer.attempt != at.attempt:
        return None  # a later attempt is under way
    return _failed(saga, at, answer.reason)


def elapsed(saga: Saga, at: Progress) -> Decision | None:
    """What the end of a wait leads to: the next attempt, or the way back; None when the saga has ended."""
    if at.status not in OPEN:
        return None
    if may_give_up(saga, at) and at.attempt >= saga.steps[at.step].retry.attempts:
        return _give_up(saga, at)
    told = at if at.alarm else _told(saga, at, "it did not answer")
    return _ask(saga, replace(told, attempt=at.attempt + 1))


def retried(saga: Saga, at: Progress) -> Decision | None:
    """An operator asks for another attempt at once; None when the saga has ended."""
    if at.status not in OPEN:
        return None
    return _ask(saga, replace(at, attempt=at.attempt + 1, alarm=""))


def recalled(saga: Saga, at: Progress) -> Decision | None:
    """An operator asks to undo; None when it cannot be: behind the pivot, or the pivot has been asked of a service."""
    if at.status is not Status.RUNNING or not may_give_up(saga, at):
        return None
    return _give_up(saga, at)


def may_refuse(saga: Saga, at: Progress) -> bool:
    """Whether the business may still say no to the current step; where it may not, a no is a failure."""
    return at.direction is Direction.DO and at.step <= saga.pivot


def may_give_up(saga: Saga, at: Progress) -> bool:
    """Whether the saga may turn back from a step whose outcome is not known; see [turning back]."""
    if at.direction is Direction.UNDO:
        return False
    return at.step < saga.pivot or (at.step == saga.pivot and saga.steps[at.step].is_local)


def _ask(saga: Saga, at: Progress) -> Decision:
    return Decision(progress=at, act=True, wait=saga.steps[at.step].timeout.total_seconds())


def _forward(saga: Saga, at: Progress) -> Decision:
    name = saga.steps[at.step].name
    if at.step + 1 == len(saga.steps):
        return Decision(progress=replace(at, status=Status.COMPLETED, alarm=""), done=name)
    return replace(_ask(saga, replace(at, step=at.step + 1, attempt=1, alarm="")), done=name)


def _backward(saga: Saga, at: Progress) -> Decision:
    return replace(_turn_back(saga, replace(at, alarm=""), at.step - 1), undone=saga.steps[at.step].name)


def _turn_back(saga: Saga, at: Progress, place: int) -> Decision:
    """Undo the steps from `place` downwards; those that leave nothing behind are passed over."""
    while place >= 0 and not saga.steps[place].undoable:
        place -= 1
    if place < 0:
        return Decision(progress=replace(at, status=Status.COMPENSATED, step=0, attempt=1))
    return _ask(saga, replace(at, status=Status.COMPENSATING, step=place, attempt=1))


def _give_up(saga: Saga, at: Progress) -> Decision:
    step = saga.steps[at.step]
    # What fails here is rolled back at once; what fails elsewhere may have been done before it failed.
    return _turn_back(saga, replace(at, alarm=""), at.step - 1 if step.is_local else at.step)


def _failed(saga: Saga, at: Progress, reason: str) -> Decision:
    step: Step = saga.steps[at.step]
    if may_give_up(saga, at) and at.attempt >= step.retry.attempts:
        return _give_up(saga, at)
    return Decision(progress=_told(saga, at, reason), wait=step.retry.pause_seconds(at.attempt))


def _told(saga: Saga, at: Progress, reason: str) -> Progress:
    """Raise the alarm when what has to be done at last was tried as often as its class of retries says."""
    step = saga.steps[at.step]
    if at.attempt < step.retry.attempts or may_give_up(saga, at):
        return at
    what = "undo" if at.direction is Direction.UNDO else "do"
    return replace(at, alarm=f"step {step.name!r} was tried {at.attempt} times ({what}): {reason}"[:500])
