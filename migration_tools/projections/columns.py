"""The columns of a read model: each says by which rule its values merge, so that no order of arrival matters."""

import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


def _moment(value: Any) -> dt.datetime:
    return value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(value)


def _day(value: Any) -> dt.date:
    return value if isinstance(value, dt.date) else dt.date.fromisoformat(value)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{type(value).__name__} is no boolean")
    return value


def _identity(value: Any) -> Any:
    return value


# PostgreSQL's name of a type, and how a value of an event becomes one; what it cannot take raises ValueError.
TYPES: Mapping[str, Callable[[Any], Any]] = {
    "text": str,
    "integer": int,
    "bigint": int,
    "numeric": lambda value: Decimal(str(value)),
    "boolean": _truth,
    "uuid": lambda value: uuid.UUID(str(value)),
    "date": _day,
    "timestamptz": _moment,
    "jsonb": _identity,
}


@dataclass(frozen=True)
class Latest:
    """The value of the newest event of one stream, by that stream's positions.

    A column has one source: positions of two streams cannot be compared, and two sources of one fact are two owners.
    """

    type: str
    source: str = ""


@dataclass(frozen=True, init=False)
class Steps:
    """How far along these steps any event has said, from whatever stream: `Steps("placed", "paid", "shipped")`."""

    steps: tuple[str, ...]
    type: str = "text"

    def __init__(self, *steps: str) -> None:
        object.__setattr__(self, "steps", steps)


@dataclass(frozen=True)
class Largest:
    """The largest value that any event of any stream has said; for times and counters that only grow."""

    type: str


@dataclass(frozen=True)
class Copied:
    """A column of the row that `via` refers to, kept equal: filled with the row, renamed with what it refers to.

    `via` is a column of this table that a Reference of it names; `default` stands while nothing is known.
    """

    via: str
    column: str
    default: Any = None


@dataclass(frozen=True)
class Gathered:
    """The rows of `table` whose column `by` holds this row's key: a JSON list of `fields`, in order of their key."""

    table: str
    by: str
    fields: tuple[str, ...]
    type: str = "jsonb"


@dataclass(frozen=True)
class Counted:
    """How many rows of `table` have this row's key in their column `by`."""

    table: str
    by: str
    type: str = "bigint"


@dataclass(frozen=True)
class Summed:
    """The sum of `column` over the rows of `table` that have this row's key in their column `by`; 0 without any."""

    table: str
    by: str
    column: str
    type: str = "numeric"


Stated = Latest | Steps | Largest
FromRows = Gathered | Counted | Summed
Derived = Copied | FromRows
Column = Stated | Derived


def stated(column: Column) -> bool:
    """Whether events say the column's value themselves."""
    return isinstance(column, Latest | Steps | Largest)
