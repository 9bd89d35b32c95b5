"""What a saga's author writes: steps with their commands, compensations, timeouts and retries, and the pivot."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

Data: TypeAlias = Mapping[str, Any]

#: The compensation of a step that leaves nothing behind: a question, say.
NOTHING: Final = "-"


class Rejected(Exception):
    """The business says no: the step has no effect and trying again would not help. Raise it in a step's function.

    `reason` is a short code that may be shown (out_of_stock); anything else that a step raises is a technical failure.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, kw_only=True)
class Retry:
    """A class of patience: how often a step is tried that fails or does not answer, and how long is waited between.

    Before the pivot the saga turns back after `attempts`. Steps behind the pivot and compensations are tried for ever;
    for them `attempts` is when somebody is told.
    """

    attempts: int = 3
    first: dt.timedelta = dt.timedelta(seconds=1)
    longest: dt.timedelta = dt.timedelta(minutes=5)

    def pause_seconds(self, attempt: int) -> float:
        """How long to wait after this attempt: doubled each time, up to `longest`."""
        return min(self.first.total_seconds() * 2.0 ** min(attempt - 1, 30), self.longest.total_seconds())


#: Said once; whoever does not answer is taken for absent.
ONCE: Final = Retry(attempts=1)
USUAL: Final = Retry()
PATIENT: Final = Retry(attempts=10, first=dt.timedelta(seconds=5), longest=dt.timedelta(minutes=30))


@dataclass(frozen=True, kw_only=True)
class LocalStep:
    """What a function of the orchestrator's own service is given: it runs inside the transition's transaction."""

    saga_id: str
    saga: str
    step: str
    payload: Data
    using: str


LocalFunction: TypeAlias = Callable[[LocalStep], Data | None]


@dataclass(frozen=True)
class Step:
    """One local transaction of a saga.

    Either it is asked of another service, by the event `command`, answered on the stream `replies`; or it is done here,
    by the function `local` inside the transition's own transaction.

    Args:
        name: what it is called in the state, the journal and the keys of idempotency.
        command: event type that asks for the step.
        compensation: event type that asks to undo it; NOTHING where there is nothing to undo.
        replies: the stream on which the asked service answers.
        local: function that does the step here.
        undo: function that undoes it here; NOTHING as above.
        timeout: how long an answer is waited for; then the command is sent again, or the saga turns back.
        retry: see Retry.
        pivot: the point of no return: behind it nothing is undone and everything is tried until it is done.
        sends: the parts of the payload that the command carries; all of it if not given.
        keeps: the parts of the answer that the payload takes up; all of it if not given.
    """

    name: str
    command: str = field(default="", kw_only=True)
    compensation: str = field(default="", kw_only=True)
    replies: str = field(default="", kw_only=True)
    local: LocalFunction | None = field(default=None, kw_only=True)
    undo: LocalFunction | str | None = field(default=None, kw_only=True)
    timeout: dt.timedelta = field(default=dt.timedelta(seconds=30), kw_only=True)
    retry: Retry = field(default=USUAL, kw_only=True)
    pivot: bool = field(default=False, kw_only=True)
    sends: tuple[str, ...] | None = field(default=None, kw_only=True)
    keeps: tuple[str, ...] | None = field(default=None, kw_only=True)

    @property
    def is_local(self) -> bool:
        """Whether the orchestrator's own service does it."""
        return self.local is not None

    @property
    def undoable(self) -> bool:
        """Whether there is something to call when the saga turns back."""
        what = self.undo if self.is_local else self.compensation
        return what not in (None, "", NOTHING)


@dataclass(frozen=True)
class Saga:
    """A saga as data. Hand it to `declare` in a module `sagas` of an installed app; it is then checked and can start.

    Args:
        name: the type that is kept with each instance.
        stream: the stream of the orchestrator's service, which carries the commands.
        steps: in order; they are undone in reverse.
        version: raise it when the steps change, and keep the old definition declared while sagas of it are open.
        context: whose move between owners waits for these sagas; the stream's name if not given.
        alarm_after: a saga open for longer is listed as stuck.
        group: the group of handlers that takes the answers.
    """

    name: str
    stream: str = field(kw_only=True)
    steps: Sequence[Step] = field(kw_only=True)
    version: int = field(default=1, kw_only=True)
    context: str = field(default="", kw_only=True)
    alarm_after: dt.timedelta = field(default=dt.timedelta(minutes=15), kw_only=True)
    group: str = field(default="", kw_only=True)

    @property
    def belongs_to(self) -> str:
        """The context that its open instances hold."""
        return self.context or self.stream

    @property
    def pivot(self) -> int:
        """The index of the pivot; the number of steps if there is none, so that every step is before it."""
        return next((place for place, step in enumerate(self.steps) if step.pivot), len(self.steps))

    def place(self, name: str) -> int:
        """The index of a step by its name; -1 if there is none."""
        return next((place for place, step in enumerate(self.steps) if step.name == name), -1)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def answer_type(command: str) -> str:
    """The event type of the answers to a command."""
    return f"{command}.answered"


def pick(payload: Data, names: tuple[str, ...] | None) -> dict[str, Any]:
    """The named parts that are there, or all."""
    return dict(payload) if names is None else {name: payload[name] for name in names if name in payload}
