"""The flow of a choreographed saga, derived from its declared reactions: drawn, and searched for what is missing."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from migration_tools.sagas.choreography import Reaction
from migration_tools.sagas.decisions import Direction

CYCLE = "strangle.E083"
FAILURE_PATH = "strangle.E084"
DANGLING = "strangle.W085"


@dataclass(frozen=True, kw_only=True, order=True)
class Hop:
    """One reaction as data: which service does or undoes which step, on what, and what follows."""

    saga: str
    service: str
    step: str
    direction: str
    takes: str = ""
    emits: str = ""
    fails: str = ""
    nothing_left: bool = False

    def __str__(self) -> str:
        verb = "undoes" if self.direction == Direction.UNDO else "does"
        return f"{self.service} {verb} {self.step}"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with a flow, with the id of the system check that reports it."""

    id: str
    saga: str
    text: str


def hops(reactions: Iterable[Reaction], service: str) -> list[Hop]:
    """A service's reactions."""
    return sorted(
        Hop(
            saga=each.saga,
            service=service,
            step=each.step,
            direction=each.direction.value,
            takes=each.takes,
            emits=each.emits,
            fails=each.fails,
            nothing_left=each.nothing_left,
        )
        for each in reactions
    )


def to_json(found: Iterable[Hop]) -> list[dict[str, Any]]:
    """For a file that other services' flows are joined to."""
    return [asdict(each) for each in found]


def from_json(document: Iterable[Mapping[str, Any]]) -> list[Hop]:
    """Read it back; TypeError when it is not one."""
    return [Hop(**each) for each in document]


def find_faults(found: Iterable[Hop], *, whole: bool = True) -> list[Fault]:
    """Cycles; and, of a flow that is `whole`, what a service alone cannot tell.

    E084: a refusal leaves a step undone that was done before it. W085: an event of a choreographed saga is published or
    taken by nobody.
    """
    faults: list[Fault] = []
    everything = list(found)
    for saga in sorted({each.saga for each in everything}):
        of_it = [each for each in everything if each.saga == saga]
        faults += [Fault(id=CYCLE, saga=saga, text=text) for text in _cycles(of_it)]
        if whole:
            faults += [Fault(id=FAILURE_PATH, saga=saga, text=text) for text in _left_undone(of_it)]
            faults += [Fault(id=DANGLING, saga=saga, text=text) for text in _dangling(of_it)]
    return faults


def _following(of_it: list[Hop]) -> dict[str, list[str]]:
    """Event → the events that reactions to it publish."""
    edges: dict[str, list[str]] = {}
    for each in of_it:
        for event in filter(None, (each.emits, each.fails)):
            edges.setdefault(event, [])
            if each.takes:
                edges.setdefault(each.takes, []).append(event)
    return edges


def _cycles(of_it: list[Hop]) -> Iterator[str]:
    """Each cycle once, by depth-first search; a cycle is the way back to an event that is still being followed."""
    edges = _following(of_it)
    done: set[str] = set()
    path: list[str] = []

    def visit(event: str) -> Iterator[str]:
        if event in path:
            ring = [*path[path.index(event) :], event]
            yield f"saga {ring_name(of_it)!r} runs in a circle: {' → '.join(ring)}; one of them must end the saga"
            return
        if event in done:
            return
        path.append(event)
        for after in edges.get(event, []):
            yield from visit(after)
        path.pop()
        done.add(event)

    for event in sorted(edges):
        yield from visit(event)


def ring_name(of_it: list[Hop]) -> str:
    """The saga that the hops are of."""
    return of_it[0].saga if of_it else ""


def _reachable(edges: Mapping[str, list[str]], event: str) -> set[str]:
    seen: set[str] = set()
    waiting = [event]
    while waiting:
        at = waiting.pop()
        if at not in seen:
            seen.add(at)
            waiting += edges.get(at, [])
    return seen


def _left_undone(of_it: list[Hop]) -> Iterator[str]:
    """For each refusal: every step that was done on the way to it has a reaction that undoes it, on the way back."""
    edges = _following(of_it)
    steps = [each for each in of_it if each.direction == Direction.DO]
    for refusing in (each for each in steps if each.fails):
        back = _reachable(edges, refusing.fails)
        for earlier in _before(steps, refusing):
            if earlier.nothing_left or earlier.step == refusing.step:
                continue
            undone = any(
                each.direction == Direction.UNDO
                and (each.service, each.step) == (earlier.service, earlier.step)
                and each.takes in back
                for each in of_it
            )
            if not undone:
                yield (
                    f"when {refusing.service!r} refuses {refusing.step!r} ({refusing.fails}), nothing undoes "
                    f"{earlier.step!r} of {earlier.service!r}; let a reaction with undoes={earlier.step!r} follow from "
                    f"{refusing.fails!r}"
                )


def _before(steps: list[Hop], last: Hop) -> list[Hop]:
    """The steps that were done before `last` takes its event, backwards along what they emit."""
    found: list[Hop] = []
    waiting = [last.takes]
    while waiting:
        event = waiting.pop()
        for each in steps:
            if event and each.emits == event and each not in found:
                found.append(each)
                waiting.append(each.takes)
    return found


def _dangling(of_it: list[Hop]) -> Iterator[str]:
    emitted = {event for each in of_it for event in (each.emits, each.fails)}
    taken = {each.takes for each in of_it}
    for each in of_it:
        if each.takes and each.takes not in emitted:
            yield f"{each} on {each.takes!r}, which no service of the flow publishes"
        if each.fails and each.fails not in taken:
            yield f"{each} and may refuse by {each.fails!r}, which nobody takes"


def draw(found: Iterable[Hop]) -> Iterator[str]:
    """The flow as Mermaid's flowchart, which GitHub and most viewers of Markdown draw."""
    yield "flowchart TD"
    for each in found:
        box = f"{each.service}: {'undo ' if each.direction == Direction.UNDO else ''}{each.step}"
        name = _identifier(f"{each.saga} {box} {each.takes}")
        yield f'    {name}["{box}"]'
        if each.takes:
            yield f"    {_identifier(each.takes)}(({each.takes})) --> {name}"
        if each.emits:
            yield f"    {name} --> {_identifier(each.emits)}(({each.emits}))"
        if each.fails:
            yield f"    {name} -. refused .-> {_identifier(each.fails)}(({each.fails}))"


def tell(found: Iterable[Hop]) -> Iterator[str]:
    """The flow as lines of text."""
    for each in found:
        follows = " or ".join(filter(None, (each.emits, f"{each.fails} (refused)" if each.fails else "")))
        yield f"{each.takes or 'begin':28} → {each!s:34} → {follows or 'end'}"


def _identifier(text: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in text)
