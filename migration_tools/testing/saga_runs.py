"""Run a saga's definition at random by the engine's own decisions: crashes, repetition, loss, disorder; then count.

One run is one saga in a world of messages. Every transaction commits whole or not at all; a message may come twice,
late, in another order or never; a participant may refuse or fail; clocks run out at any moment. A seed gives the same
run again. The functions that decide are arguments, so that a test can break one and see a run fail.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from migration_tools.sagas import admission, decisions
from migration_tools.sagas.admission import Course, Stored
from migration_tools.sagas.decisions import Answer, Decision, Direction, Outcome, Progress, Status
from migration_tools.sagas.definition import Saga

UNREST = 60
LONGEST = 5_000

#: Applies the effect of a step, +1 to do and -1 to undo.
Effect = Callable[[int], None]


class RunFailed(AssertionError):
    """A run ended wrongly; its seed gives it again."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is decided by whom: the engine's own functions, and the keys under which participants store."""

    heard: Callable[[Saga, Progress, Answer], Decision | None] = decisions.heard
    elapsed: Callable[[Saga, Progress], Decision | None] = decisions.elapsed
    course_of_doing: Callable[[Stored | None], Course] = admission.course_of_doing
    course_of_undoing: Callable[[Stored | None, Stored | None], Course] = admission.course_of_undoing
    own_key_to_undo: bool = True  # False: a compensation has the key of its step
    void_when_undone_first: bool = True  # False: what was undone before it was done leaves no mark
    refusals_final: bool = True  # False: a command that was refused is tried anew when it comes again


@dataclass(frozen=True, kw_only=True)
class Odds:
    """How often what goes wrong, while the world is restless."""

    crash: float = 0.15
    repeat: float = 0.2
    lose: float = 0.05
    refuse: float = 0.12
    fail: float = 0.12
    elapse: float = 0.15
    recall: float = 0.02


@dataclass(frozen=True, kw_only=True)
class Message:
    """A command or its answer under way."""

    step: str
    direction: Direction
    attempt: int
    may_refuse: bool = False
    outcome: Outcome | None = None


@dataclass(kw_only=True)
class Run:
    """One saga from its start to its end; `effects` are those of each step, by name."""

    saga: Saga
    seed: int
    effects: Mapping[str, Effect]
    rules: Rules = field(default_factory=Rules)
    odds: Odds = field(default_factory=Odds)
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Not for secrets: the same seed must give the same run.
        self.choose = random.Random(self.seed)  # noqa: S311
        self.messages: list[Message] = []
        self.stored: dict[tuple[str, Direction], Stored] = {}
        self.progress = Progress()
        self.waits = True
        self.counts = {step.name: 0 for step in self.saga.steps}

    def play(self) -> Status:
        """Play to the end and check it; returns how the saga ended.

        Raises:
            RunFailed: a step was done or undone twice, not at all, or the saga never ended.
        """
        self._carry_out(decisions.begin(self.saga))
        for turn in range(LONGEST):
            self._turn(restless=turn < UNREST)
            if not self.messages and self.progress.status not in decisions.OPEN:
                self._check()
                return self.progress.status
        raise RunFailed(f"seed {self.seed}: not ended after {LONGEST} turns; {self._told()}")

    def _turn(self, *, restless: bool) -> None:
        """Deliver a message, or let the clock run out, or an operator interfere; or crash before the commit."""
        draw = self.choose.random
        if restless and draw() < self.odds.recall:
            self._decided(decisions.recalled(self.saga, self.progress), "recalled")
        if self.waits and (not self.messages or (restless and draw() < self.odds.elapse)):
            if not (restless and draw() < self.odds.crash):
                self._decided(self.rules.elapsed(self.saga, self.progress), "elapsed")
            return
        if not self.messages:
            return
        message = self.messages[self.choose.randrange(len(self.messages))]
        if restless and draw() < self.odds.lose:
            self.messages.remove(message)
            return
        if restless and draw() < self.odds.crash:
            return  # before the commit: the message comes again
        if message.outcome is None:
            self._obey(message, restless=restless)
        else:
            answer = Answer(
                step=message.step,
                direction=message.direction,
                outcome=message.outcome,
                attempt=message.attempt,
                reason="at random",
            )
            self._decided(self.rules.heard(self.saga, self.progress, answer), f"heard {message.outcome}")
        if not (restless and draw() < self.odds.repeat):
            self.messages.remove(message)

    def _decided(self, decision: Decision | None, why: str) -> None:
        if decision is not None:
            self.log.append(f"{why} at {self.progress.direction} {self.saga.steps[self.progress.step].name}")
            self._carry_out(decision)

    def _carry_out(self, decision: Decision) -> None:
        """As the orchestrator does it: store, then send or do here, and go on."""
        while True:
            at = self.progress = decision.progress
            self.waits = decision.wait is not None
            if not decision.act:
                return
            step = self.saga.steps[at.step]
            refusable = decisions.may_refuse(self.saga, at)
            if not step.is_local:
                self.messages.append(
                    Message(step=step.name, direction=at.direction, attempt=at.attempt, may_refuse=refusable)
                )
                return
            answer = Answer(
                step=step.name,
                direction=at.direction,
                outcome=self._do_here(step.name, at, refusable),
                attempt=at.attempt,
            )
            following = self.rules.heard(self.saga, at, answer)
            if following is None:
                raise RunFailed(f"seed {self.seed}: a step done here said nothing new; {self._told()}")
            decision = following

    def _do_here(self, name: str, at: Progress, refusable: bool) -> Outcome:
        if refusable and at.step > 0 and self.choose.random() < self.odds.refuse:
            return Outcome.REJECTED
        self._effect(name, at.direction)
        return Outcome.DONE

    def _obey(self, command: Message, *, restless: bool) -> None:
        """As a participant does it: claim, decide, act, store and answer in one commit."""
        undo_key = Direction.UNDO if self.rules.own_key_to_undo else Direction.DO
        doing = self.stored.get((command.step, Direction.DO))
        if command.direction is Direction.DO:
            if doing is Stored.REJECTED and not self.rules.refusals_final:
                doing = None
            if self.rules.course_of_doing(doing) is Course.ANSWER and doing is not None:
                self._answer(command, admission.answered(doing))
                return
            outcome = self._at_random(command, restless)
            if outcome is not Outcome.FAILED:
                self.stored[command.step, Direction.DO] = Stored(outcome.value)
        else:
            undoing = self.stored.get((command.step, undo_key))
            if doing is None and self.rules.void_when_undone_first:
                self.stored[command.step, Direction.DO] = Stored.VOID
            outcome = Outcome.DONE
            if self.rules.course_of_undoing(doing, undoing) is Course.RUN:
                outcome = self._at_random(replace(command, may_refuse=False), restless)
            if outcome is Outcome.DONE and (undoing is None or undo_key is Direction.UNDO):
                self.stored[command.step, undo_key] = Stored.DONE
        self._answer(command, outcome)

    def _at_random(self, command: Message, restless: bool) -> Outcome:
        draw = self.choose.random()
        if restless and draw < self.odds.fail:
            return Outcome.FAILED
        if command.may_refuse and draw > 1 - self.odds.refuse:
            return Outcome.REJECTED
        self._effect(command.step, command.direction)
        return Outcome.DONE

    def _answer(self, command: Message, outcome: Outcome) -> None:
        self.messages.append(replace(command, outcome=outcome))

    def _effect(self, name: str, direction: Direction) -> None:
        sign = 1 if direction is Direction.DO else -1
        self.counts[name] += sign
        self.log.append(f"{direction} {name}")
        if not 0 <= self.counts[name] <= 1:
            raise RunFailed(f"seed {self.seed}: step {name!r} has {self.counts[name]} effects; {self._told()}")
        if name in self.effects:
            self.effects[name](sign)

    def _check(self) -> None:
        wanted = 1 if self.progress.status is Status.COMPLETED else 0
        wrong = {
            step.name: self.counts[step.name]
            for step in self.saga.steps
            if self.counts[step.name] != wanted and (wanted or step.undoable or step.pivot)
        }
        if wrong:
            end = self.progress.status.value
            raise RunFailed(f"seed {self.seed}: the saga is {end}, but its effects are {wrong}; {self._told()}")

    def _told(self) -> str:
        return "what happened: " + ", ".join(self.log)


def play_many(
    saga: Saga, *, runs: int, seed: int = 0, effects: Mapping[str, Effect] | None = None, rules: Rules | None = None
) -> dict[Status, int]:
    """Play so many runs, each of its own seed; how many ended in which way.

    Raises:
        RunFailed: the first that ended wrongly.
    """
    ends = dict.fromkeys(Status, 0)
    for number in range(seed, seed + runs):
        ends[Run(saga=saga, seed=number, effects=effects or {}, rules=rules or Rules()).play()] += 1
    return ends
