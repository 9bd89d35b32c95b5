"""Ten thousand random runs of the two sagas of the seeds, with crashes: money and stock are conserved in each."""

import dataclasses
from collections import Counter
from typing import Any

import pytest

from migration_tools.sagas import admission, decisions
from migration_tools.sagas.admission import Course, Stored
from migration_tools.sagas.decisions import Answer, Decision, Progress, Status
from migration_tools.sagas.definition import Saga
from migration_tools.testing.saga_runs import Odds, Rules, Run, RunFailed, play_many
from tests.sagas.definitions import ORDER, TRANSFER

RUNS = 10_000


class Book:
    """Accounts and stock of one world; what a saga's steps do to them."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter(a=100, b=0, customer=100, shop=0, shelf=5, reserved=0)

    def move(self, source: str, target: str, amount: int) -> Any:
        def effect(sign: int) -> None:
            self.of[source] -= sign * amount
            self.of[target] += sign * amount

        return effect


def played(saga: Saga, runs: int, rules: Rules | None = None) -> Counter[Status]:
    """Play runs of a saga, each with a book of its own that must agree with how the saga ended."""
    ends: Counter[Status] = Counter()
    for seed in range(runs):
        book = Book()
        effects = {
            "debit": book.move("a", "clearing", 10),
            "credit": book.move("clearing", "b", 10),
            "reserve": book.move("shelf", "reserved", 1),
            "pay": book.move("customer", "shop", 10),
        }
        end = Run(saga=saga, seed=seed, effects=effects, rules=rules or Rules()).play()
        completed = end is Status.COMPLETED
        assert sum(book.of[name] for name in ("a", "b", "clearing", "customer", "shop")) == 200, seed
        assert book.of["clearing"] == 0, seed
        assert book.of["shelf"] + book.of["reserved"] == 5, seed
        if saga is TRANSFER:
            assert (book.of["a"], book.of["b"]) == ((90, 10) if completed else (100, 0)), seed
        else:
            assert (book.of["shop"], book.of["reserved"]) == ((10, 1) if completed else (0, 0)), seed
        ends[end] += 1
    return ends


@pytest.mark.parametrize("saga", [TRANSFER, ORDER], ids=str)
def test_money_and_stock_are_conserved_in_ten_thousand_runs_with_crashes(saga: Saga) -> None:
    ends = played(saga, RUNS // 2)
    assert set(ends) == {Status.COMPLETED, Status.COMPENSATED}
    assert min(ends.values()) > RUNS // 20, ends


def always_run(before: Stored | None) -> Course:
    return Course.RUN


def undo_whatever_was(doing: Stored | None, undoing: Stored | None) -> Course:
    return Course.ANSWER if undoing is not None else Course.RUN


def undo_again(doing: Stored | None, undoing: Stored | None) -> Course:
    return Course.RUN if doing is Stored.DONE else Course.NOTHING_TO_UNDO


def believe_late_answers(saga: Saga, at: Progress, answer: Answer) -> Decision | None:
    """The answer's step is taken for the current one."""
    return decisions.heard(saga, at, dataclasses.replace(answer, step=saga.steps[at.step].name))


def leave_what_did_not_answer(saga: Saga, at: Progress) -> Decision | None:
    """Turn back from the step before the one whose outcome is not known."""
    found = decisions.elapsed(saga, at)
    if found is None or found.progress.direction is at.direction or at.step == 0:
        return found
    return decisions._turn_back(saga, at, at.step - 1)


@pytest.mark.parametrize(
    "rules",
    [
        Rules(course_of_doing=always_run),
        Rules(course_of_undoing=undo_whatever_was),
        Rules(course_of_undoing=undo_again),
        Rules(own_key_to_undo=False),
        Rules(void_when_undone_first=False),
        Rules(refusals_final=False),
        Rules(heard=believe_late_answers),
        Rules(elapsed=leave_what_did_not_answer),
    ],
    ids=[
        "a repeated command is done again",
        "what was never done is undone",
        "a repeated compensation is done again",
        "a compensation has the key of its step, as in the seed",
        "a command that comes after its compensation is done",
        "a refused command is tried anew",
        "late answers count for the current step",
        "a step that did not answer is not undone",
    ],
)
def test_each_rule_that_is_left_out_is_found(rules: Rules) -> None:
    with pytest.raises((RunFailed, AssertionError)):
        played(ORDER, 2_000, rules)


def test_a_seed_gives_the_same_run_again() -> None:
    one, other = (Run(saga=ORDER, seed=7, effects={}) for _ in range(2))
    assert (one.play(), one.log) == (other.play(), other.log)


def test_without_anything_going_wrong_every_saga_is_completed() -> None:
    calm = Odds(crash=0, repeat=0, lose=0, refuse=0, fail=0, elapse=0, recall=0)
    assert Run(saga=ORDER, seed=1, effects={}, odds=calm).play() is Status.COMPLETED
    assert play_many(ORDER, runs=50)[Status.RUNNING] == 0


def test_the_keys_of_doing_and_undoing_are_apart() -> None:
    assert admission.course_of_undoing(Stored.DONE, None) is Course.RUN
    assert admission.course_of_undoing(Stored.DONE, Stored.DONE) is Course.ANSWER
    assert admission.course_of_undoing(None, None) is Course.NOTHING_TO_UNDO
