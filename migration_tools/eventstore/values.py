"""How values of events become JSON, and the value of what an old event did not say."""

from datetime import date
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from eventsourcing.persistence import DatetimeAsISO, DecimalAsStr, JSONTranscoder, Transcoding, UUIDAsHex

from migration_tools.errors import StrangleError


class Unknown:
    """What an event of an earlier version did not say. There is one of it: `UNKNOWN`.

    An upcaster must not invent a value that looks like a fact, such as an address of nobody: sooner or later somebody
    writes to it. This one is false, equals nothing but itself, and says what it is.
    """

    _only: "Unknown | None" = None

    def __new__(cls) -> "Unknown":
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


class UnknownAsMark(Transcoding):
    """UNKNOWN as JSON."""

    type = Unknown
    name = "unknown"

    def encode(self, obj: Any) -> Any:
        return ""

    def decode(self, data: Any) -> Any:
        return UNKNOWN


class DateAsISO(Transcoding):
    """A date as JSON."""

    type = date
    name = "date_iso"

    def encode(self, obj: Any) -> Any:
        return obj.isoformat()

    def decode(self, data: Any) -> Any:
        return date.fromisoformat(data)


def transcoder() -> JSONTranscoder:
    """The library's JSON transcoder with the types that events of ours may hold."""
    made = JSONTranscoder()
    for transcoding in (UUIDAsHex(), DecimalAsStr(), DatetimeAsISO(), DateAsISO(), UnknownAsMark()):
        made.register(transcoding)
    return made


def plain(value: Any) -> Any:
    """A value as other services read it: amounts, ids and times as text, UNKNOWN as null.

    Raises:
        StrangleError: it is of a type that has no plain form.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Unknown):
        return None
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    raise StrangleError(
        f"an event holds a {type(value).__name__}, which has no plain form; use text, numbers, Decimal, UUID, dates, "
        "lists and dicts"
    )
