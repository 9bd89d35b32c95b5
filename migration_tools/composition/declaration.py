"""A composition as data: parts, what each needs first, how long it may take, and what takes its place."""

import graphlib
import string
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from migration_tools.errors import CompositionError

Values = Mapping[str, Any]
IdsFunction = Callable[[Values], Iterable[Any]]
ShapeFunction = Callable[[Any], Any]


class Asking(Protocol):
    """What a part's own function may ask with; every call is counted against the composition's."""

    async def get(self, source: str, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The JSON that a source answers."""
        ...

    async def load(self, source: str, path: str, ids: Iterable[Any], by: str = "id") -> dict[Any, Any]:
        """Rows by id, through the request's loader: ids of all parts that ask in the same moment go in one call."""
        ...


FetchFunction = Callable[[Asking, Values], Awaitable[Any]]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the answer: GET `path` of `source`, or its rows `ids`, or what `fetch` makes of several calls.

    Placeholders in `path` and `params` are values of the request: "/api/users/{customer}/". `ids` and `fetch` see the
    request's values and the parts named in `after`, which end first; all other parts run at the same time. Without
    `timeout_seconds` it may take all that is left.
    """

    name: str
    source: str
    path: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    ids: IdsFunction | None = None
    by: str = "id"
    fetch: FetchFunction | None = None
    after: tuple[str, ...] = ()
    shape: ShapeFunction | None = None
    required: bool = False
    fallback: Any = None
    timeout_seconds: float | None = None
    attempts: int = 2
    stale_seconds: float = 0.0


class Composition:
    """Parts under one deadline; refuses a declaration with mistakes, all of them at once."""

    def __init__(
        self, name: str, parts: Sequence[Part], *, deadline_seconds: float = 2.0, calls_at_most: int | None = None
    ):
        self.name = name
        self.parts = {part.name: part for part in parts}
        self.deadline_seconds = deadline_seconds
        self.calls_at_most = calls_at_most
        mistakes = list(_mistakes(parts, deadline_seconds, calls_at_most))
        if mistakes:
            lines = "\n".join(f"  {number}. {text}" for number, text in enumerate(mistakes, 1))
            raise CompositionError(f"composition {name!r} cannot be used:\n{lines}")
        declared.append(self)

    def needed_for(self, wanted: Iterable[str]) -> list[Part]:
        """The parts asked for and those they need, in declared order: nobody else is called."""
        needed: set[str] = set()
        waiting = list(wanted)
        while waiting:
            name = waiting.pop()
            if name not in needed:
                needed.add(name)
                waiting += self.parts[name].after
        return [part for part in self.parts.values() if part.name in needed]


#: Every composition of the process, for the system check.
declared: list[Composition] = []


def placeholders(part: Part) -> set[str]:
    """Names of the request's values that a part's path and parameters use."""
    texts = [part.path, *part.params.values()]
    return {name for text in texts for _, name, _, _ in string.Formatter().parse(text) if name}


def _mistakes(parts: Sequence[Part], deadline: float, calls: int | None) -> Iterable[str]:
    names = [part.name for part in parts]
    if not parts:
        yield "it has no parts"
    if deadline <= 0:
        yield f"deadline_seconds is {deadline!r}; it must be more than 0"
    if calls is not None and calls < 1:
        yield f"calls_at_most is {calls!r}; it must be at least 1"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"part {name!r} is declared {names.count(name)} times"
    for part in parts:
        yield from _mistakes_of(part, names, deadline)
    try:
        known = {part.name: [name for name in part.after if name in names] for part in parts}
        list(graphlib.TopologicalSorter(known).static_order())
    except graphlib.CycleError as error:
        yield f"parts wait for each other: {' -> '.join(error.args[1])}"


def _mistakes_of(part: Part, names: Sequence[str], deadline: float) -> Iterable[str]:
    if not part.name.isidentifier() or part.name.startswith("_"):
        yield f"part {part.name!r}; a part's name is a field of the answer: a word that does not begin with _"
    for name in part.after:
        if name not in names:
            yield f"part {part.name!r} comes after {name!r}, which is no part; there are {sorted(set(names))}"
    if part.ids is not None and part.fetch is not None:
        yield f"part {part.name!r} has ids and fetch; it takes one of them"
    if not part.path and part.fetch is None:
        yield f"part {part.name!r} has no path"
    if part.fetch is None and not part.path.startswith("/") and part.path:
        yield f"part {part.name!r} has path {part.path!r}; it begins with /"
    if part.timeout_seconds is not None and not 0 < part.timeout_seconds <= max(deadline, 0):
        yield f"part {part.name!r} has timeout_seconds {part.timeout_seconds!r}; it must be within 0 and the deadline"
    if not 1 <= part.attempts <= 10:
        yield f"part {part.name!r} has attempts {part.attempts!r}; it must be 1 to 10"
    if part.required and part.fallback is not None:
        yield f"part {part.name!r} is required and has a fallback; it is one or the other"
