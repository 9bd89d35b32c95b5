"""What is wrong with a definition, every mistake at once, each as a sentence that says what is legal."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from migration_tools.sagas.definition import Saga, Step

NAME = re.compile(r"[a-z][a-z0-9_]{0,49}")
EVENT = re.compile(r"[a-z][a-z0-9_.-]{0,119}")

DEFINITION = "strangle.E080"
COMPENSATION = "strangle.E081"


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One mistake, with the id of the system check that reports it."""

    id: str
    text: str


def find_mistakes(saga: Saga) -> list[Mistake]:
    """Everything that keeps the definition from being used; empty when it can start."""
    return [
        *(Mistake(id=DEFINITION, text=text) for text in (*_of_the_whole(saga), *_of_the_steps(saga))),
        *(Mistake(id=COMPENSATION, text=text) for text in _of_the_way_back(saga)),
    ]


def _of_the_whole(saga: Saga) -> Iterator[str]:
    if not NAME.fullmatch(saga.name):
        yield f"saga {saga.name!r}: a name has lower-case letters, digits and _, at most 50 characters"
    if not saga.stream:
        yield f"saga {saga.name!r} has no stream; name the one that carries this service's events"
    if not saga.steps:
        yield f"saga {saga.name!r} has no steps"
    if saga.version < 1:
        yield f"saga {saga.name!r} has version {saga.version!r}; begin with 1"
    if saga.alarm_after.total_seconds() <= 0:
        yield f"saga {saga.name!r} has alarm_after {saga.alarm_after}; it must be longer than nothing"
    pivots = [step.name for step in saga.steps if step.pivot]
    if len(pivots) > 1:
        yield f"saga {saga.name!r} has the pivots {pivots}; there is one point of no return"
    for name, times in Counter(step.name for step in saga.steps).items():
        if times > 1:
            yield f"saga {saga.name!r} has {times} steps called {name!r}; their keys would be the same"
    types = Counter(word for step in saga.steps for word in (step.command, step.compensation) if EVENT.fullmatch(word))
    for word, times in types.items():
        if times > 1:
            yield f"saga {saga.name!r} uses {word!r} {times} times; each command and compensation is its own event"


def _of_the_steps(saga: Saga) -> Iterator[str]:
    for step in saga.steps:
        where = f"saga {saga.name!r}, step {step.name!r}"
        if not NAME.fullmatch(step.name):
            yield f"{where}: a name has lower-case letters, digits and _, at most 50 characters"
        if step.is_local == bool(step.command):
            yield f"{where} must have either command= (asked of a service) or local= (done here)"
        yield from (_of_a_local_step(where, step) if step.is_local else _of_a_remote_step(where, step))
        if step.timeout.total_seconds() <= 0:
            yield f"{where} has the timeout {step.timeout}; it must be longer than nothing"
        if step.retry.attempts < 1:
            yield f"{where} has {step.retry.attempts} attempts; 1 is the least"
        if step.retry.first.total_seconds() < 0 or step.retry.longest < step.retry.first:
            yield f"{where} waits from {step.retry.first} to {step.retry.longest}; first is not above longest"


def _of_a_local_step(where: str, step: Step) -> Iterator[str]:
    if step.compensation or step.replies:
        yield f"{where} is done here; it has undo=, and neither compensation= nor replies="


def _of_a_remote_step(where: str, step: Step) -> Iterator[str]:
    if step.undo is not None:
        yield f"{where} is asked of a service; it has compensation=, not undo="
    if step.command and not step.replies:
        yield f"{where} has no replies=; name the stream on which the asked service answers"
    for word in (step.command, *([step.compensation] if step.undoable else [])):
        if word and not EVENT.fullmatch(word):
            yield f"{where} names the event {word!r}; use lower-case letters, digits and . _ -"


def _of_the_way_back(saga: Saga) -> Iterator[str]:
    for place, step in enumerate(saga.steps):
        said = step.undo if step.is_local else step.compensation
        word = "undo" if step.is_local else "compensation"
        if place < saga.pivot and said in (None, "") and not _is_last_and_refusable(saga, place):
            yield (
                f"saga {saga.name!r}, step {step.name!r} stands before the pivot and has no {word}=; "
                f"give one, or {word}=NOTHING if it leaves nothing behind"
            )
        if place >= saga.pivot and said not in (None, ""):
            yield (
                f"saga {saga.name!r}, step {step.name!r} has {word}=, but behind the pivot nothing is undone; "
                f"leave it out, or move the pivot"
            )


def _is_last_and_refusable(saga: Saga, place: int) -> bool:
    """Whether it is a last step done here: it is done with the saga's end in one commit, or has no effect at all."""
    return place == len(saga.steps) - 1 and saga.steps[place].is_local
