"""Columns of a mapping that a Python function makes: which function, from what, and rows run through it.

Note [one function, one place]. What a function makes of a row is computed here and nowhere else: for the records of a
tick, for a chunk of the copy, for a comparison and for a repair, in either direction. The other columns pass as
PostgreSQL's text, never decoded. A function is found by its name, so that every process calls the same one; only those
that a playbook of the settings declares, or whose module TRANSFORMS names, are called: what stands in a table of the
database must not choose code.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, Protocol

from migration_tools.conf import settings
from migration_tools.errors import TransformFailed
from migration_tools.stores.python_values import Decoder, Unfit, decoder, encode

Row = Sequence[str | None]


@dataclass(frozen=True, kw_only=True)
class Made:
    """A column that a function makes: `inputs` are columns of the relation's query, `types` theirs, `type` its own."""

    column: str
    type: str
    function: str
    version: int
    inputs: tuple[str, ...]
    types: tuple[str, ...]


class Mapping(Protocol):
    """What of a relation matters here; declared or installed."""

    @property
    def source_table(self) -> str: ...
    @property
    def target_table(self) -> str: ...
    @property
    def key_types(self) -> tuple[str, ...]: ...
    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def query(self) -> str: ...
    @property
    def transforms(self) -> tuple[Made, ...]: ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a raw row (key, plain columns, inputs; see `raw_columns`) becomes a row of the target; can be pickled.

    `places` has one entry a target column: a place in the raw row, or the column's number in `made`, below zero.
    """

    table: str
    target: str
    key_width: int
    places: tuple[int, ...]
    made: tuple[Made, ...]
    inputs: tuple[tuple[int, ...], ...]


def raw_columns(relation: Mapping) -> tuple[str, ...]:
    """What of the relation's query is read after the key: the plain columns, then the functions' inputs."""
    names = {made.column for made in relation.transforms}
    plain = (name for name in relation.columns if name not in names)
    return (*plain, *(name for made in relation.transforms for name in made.inputs))


def plan_of(relation: Mapping) -> Plan:
    """The plan of a relation."""
    width = len(relation.key_types)
    at = {name: width + place for place, name in enumerate(raw_columns(relation))}
    number = {made.column: -1 - place for place, made in enumerate(relation.transforms)}
    return Plan(
        table=relation.source_table,
        target=relation.target_table,
        key_width=width,
        places=tuple(number[name] if name in number else at[name] for name in relation.columns),
        made=relation.transforms,
        inputs=tuple(tuple(at[name] for name in made.inputs) for made in relation.transforms),
    )


_declared: dict[str, Callable[..., Any]] = {}


def declare(function: Callable[..., Any]) -> str:
    """Remember a function that a playbook names; returns the name by which other processes find it."""
    name = f"{getattr(function, '__module__', '?')}:{getattr(function, '__qualname__', type(function).__name__)}"
    _declared[name] = function
    return name


def permitted(name: str) -> Callable[..., Any]:
    """The function of that name, if this process may call it.

    Raises:
        TransformFailed: it is neither declared by a playbook of the settings nor in a module that TRANSFORMS names.
    """
    module = name.partition(":")[0]
    if name not in _declared:
        for playbooks in settings().PLAYBOOKS:
            import_module(playbooks)
    if name in _declared or module in settings().TRANSFORMS:
        return load(name)
    raise TransformFailed(
        f"the mapping calls {name!r}, which this process may not: no playbook of its settings declares it; add "
        f"{module!r} to MIGRATION_TOOLS['TRANSFORMS'] here, or run strangle_doctor --mend if the playbook has changed"
    )


def load(name: str) -> Callable[..., Any]:
    """Import a function whose name is known to be permitted.

    Raises:
        TransformFailed: it is not there.
    """
    module, _, path = name.partition(":")
    found: Any = None
    try:
        found = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        raise TransformFailed(
            f"the mapping calls {name!r}, which cannot be imported here; install the module that holds it, the same "
            "release on both sides, then run the same command again"
        ) from None
    function: Callable[..., Any] = found
    return function


class Maker:
    """Runs raw rows through the functions of a plan."""

    def __init__(self, plan: Plan, find: Callable[[str], Callable[..., Any]] = permitted):
        self.plan = plan
        self._made = [(find(made.function), *_codec(made)) for made in plan.made]

    def rows(self, raw: Iterable[Row]) -> Iterator[list[str | None]]:
        """Each row as the target has it, its key (as the source has it) first.

        Raises:
            TransformFailed: a function raised, or gave what its column cannot hold.
        """
        width, places = self.plan.key_width, self.plan.places
        for row in raw:
            values = self.values(row)
            yield [*row[:width], *(row[place] if place >= 0 else values[-1 - place] for place in places)]

    def values(self, row: Row) -> list[str | None]:
        """What the functions make of one raw row."""
        made: list[str | None] = []
        for number, (function, decoders, type_name) in enumerate(self._made):
            try:
                given = [
                    None if (text := row[place]) is None else decode(text)
                    for place, decode in zip(self.plan.inputs[number], decoders, strict=True)
                ]
                made.append(encode(function(*given), type_name))
            except Unfit as error:
                raise self._failure(number, row, f"gave {error}") from None
            except Exception as error:
                # The message and the cause may hold the row's values; the place in the code does not.
                raise self._failure(number, row, f"raised {type(error).__name__} {_where(error)}") from None
        return made

    def _failure(self, number: int, row: Row, what: str) -> TransformFailed:
        key = "/".join(str(part) for part in row[: self.plan.key_width])
        made = self.plan.made[number]
        return TransformFailed(
            f"{made.function!r}, which makes {made.column!r} of {self.plan.target!r}, {what} for key {key} of "
            f"{self.plan.table!r}; nothing is lost: correct the function or the row, then run the same command again"
        )


def _codec(made: Made) -> tuple[list[Decoder], str]:
    return [decoder(each) for each in made.types], made.type


def _where(error: BaseException) -> str:
    """The file's name and line where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"({trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}, line {trace.tb_lineno})"


def as_json(made: Sequence[Made], types: Sequence[str]) -> dict[str, Any] | None:
    """What strangle_relation holds of it; None for a mapping that is all SQL."""
    return {"made": [asdict(each) for each in made], "types": list(types)} if made else None


def from_json(held: dict[str, Any] | None) -> tuple[tuple[Made, ...], tuple[str, ...]]:
    """The functions and the types of all columns, as strangle_relation holds them."""
    if not held:
        return (), ()
    made = tuple(
        Made(**{**each, "inputs": tuple(each["inputs"]), "types": tuple(each["types"])}) for each in held["made"]
    )
    return made, tuple(held["types"])
