"""Read what PostgreSQL's own plugin `pgoutput` says of its log: a stream of begins, changes, messages and commits.

Protocol version 1 in text form, as https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
defines it. Values are PostgreSQL's text of each column; nothing is converted here.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

EPOCH_2000: Final = 946_684_800


class Unchanged:
    """A value stored out of line that an update did not touch: the log does not carry it."""

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = Unchanged()
Value: TypeAlias = str | Unchanged | None
Row: TypeAlias = tuple[Value, ...]


class ChangeKind(StrEnum):
    """What happened to a row."""

    INSERT = "I"
    UPDATE = "U"
    DELETE = "D"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedTable:
    """A table as the log describes it; `identity` holds the columns that an old row is known by."""

    schema: str
    name: str
    columns: tuple[str, ...]
    types: tuple[int, ...]
    identity: frozenset[str]
    whole: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Begin:
    """A transaction follows; `commit` is where its commit record begins, `xid` has 32 bits."""

    xid: int
    commit: int
    committed: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One row; `old` is there for a delete, and for an update if the identity is all columns or has changed."""

    kind: ChangeKind
    table: LoggedTable
    old: Row | None
    new: Row | None
    lsn: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Truncation:
    """Tables that were emptied."""

    tables: tuple[LoggedTable, ...]
    lsn: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LogMessage:
    """What a transaction wrote by pg_logical_emit_message."""

    prefix: str
    content: bytes
    lsn: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """The transaction is complete; `end` is where its commit record ends."""

    commit: int
    end: int


Entry: TypeAlias = Begin | Change | Truncation | LogMessage | Commit


class UnreadableLog(ValueError):
    """A message is not one of the protocol."""


def read_entries(messages: Iterable[Sequence[object]]) -> Iterator[Entry]:
    """Turn (lsn as text, data) of pg_logical_slot_peek_binary_changes into entries, in commit order.

    Raises:
        UnreadableLog: a message cannot be understood; nothing after it may be believed.
    """
    tables: dict[int, LoggedTable] = {}
    run: list[Entry] = []
    for lsn, data in messages:
        entry = _read(_Bytes(bytes(data)), tables, lsn_number(str(lsn)))  # type: ignore[call-overload]
        if entry is None:
            continue
        if run and (isinstance(entry, Begin | Commit) or entry.lsn != _lsn(run[0])):
            yield from _messages_first(run)
            run = []
        run.append(entry)
    yield from _messages_first(run)


def _lsn(entry: Entry) -> int:
    return -1 if isinstance(entry, Begin | Commit) else entry.lsn


def _messages_first(run: list[Entry]) -> list[Entry]:
    """Put a message before the changes that follow it.

    Note [messages first]. The decoder takes the position of a message from its end and that of a change from its
    beginning. So a message and the change right after it have one position, and where the two were written by different
    subtransactions they are merged in any order. The message is always the earlier one.
    """
    return sorted(run, key=lambda entry: not isinstance(entry, LogMessage)) if len(run) > 1 else run


def lsn_number(text: str) -> int:
    """The number of a log position written as X/Y."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def lsn_text(number: int) -> str:
    """A log position as PostgreSQL writes it."""
    return f"{number >> 32:X}/{number & 0xFFFF_FFFF:X}"


def _read(message: "_Bytes", tables: dict[int, LoggedTable], lsn: int) -> Entry | None:
    kind = message.character()
    match kind:
        case "B":
            commit, moment, xid = message.unpack("!qqI")
            return Begin(xid=xid, commit=commit, committed=EPOCH_2000 + moment / 1_000_000)
        case "C":
            _, commit, end, _ = message.unpack("!bqqq")
            return Commit(commit=commit, end=end)
        case "R":
            (number,) = message.unpack("!I")
            tables[number] = _table(message)
            return None
        case "I" | "U" | "D":
            return _change(ChangeKind(kind), message, tables, lsn)
        case "T":
            count, _ = message.unpack("!Ib")
            return Truncation(tables=tuple(tables[n] for n in message.unpack(f"!{count}I")), lsn=lsn)
        case "M":
            _, end = message.unpack("!bq")
            prefix = message.string()
            (length,) = message.unpack("!I")
            return LogMessage(prefix=prefix, content=message.take(length), lsn=end)
        case "O" | "Y":
            return None
        case _:
            raise UnreadableLog(f"pgoutput message {kind!r} is not of protocol version 1")


def _table(message: "_Bytes") -> LoggedTable:
    schema, name = message.string(), message.string()
    replica_identity, count = message.character(), message.unpack("!H")[0]
    columns, types, identity = [], [], []
    for _ in range(count):
        (flags,) = message.unpack("!b")
        columns.append(message.string())
        oid, _ = message.unpack("!Ii")
        types.append(oid)
        if flags & 1:
            identity.append(columns[-1])
    whole = replica_identity == "f"
    return LoggedTable(
        schema=schema or "pg_catalog",
        name=name,
        columns=tuple(columns),
        types=tuple(types),
        identity=frozenset(columns if whole else identity),
        whole=whole,
    )


def _change(kind: ChangeKind, message: "_Bytes", tables: dict[int, LoggedTable], lsn: int) -> Change:
    (number,) = message.unpack("!I")
    if number not in tables:
        raise UnreadableLog("pgoutput sent a row of a table that it did not describe")
    old = new = None
    part = message.character()
    if part in {"K", "O"}:
        old = message.row()
        part = message.character() if kind is ChangeKind.UPDATE else ""
    if part == "N":
        new = message.row()
    elif part or kind is not ChangeKind.DELETE:
        raise UnreadableLog(f"pgoutput sent part {part!r} in a change {kind.value!r}")
    return Change(kind=kind, table=tables[number], old=old, new=new, lsn=lsn)


class _Bytes:
    """A message read from left to right."""

    def __init__(self, data: bytes):
        self._data = data
        self._at = 0

    def unpack(self, form: str) -> tuple[int, ...]:
        size = struct.calcsize(form)
        if self._at + size > len(self._data):
            raise UnreadableLog("pgoutput message ends early")
        found = struct.unpack_from(form, self._data, self._at)
        self._at += size
        return found

    def take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._data):
            raise UnreadableLog("pgoutput message ends early")
        found = self._data[self._at : end]
        self._at = end
        return found

    def character(self) -> str:
        return self.take(1).decode("latin-1")

    def string(self) -> str:
        end = self._data.find(b"\0", self._at)
        if end < 0:
            raise UnreadableLog("pgoutput message ends early")
        found = self._data[self._at : end].decode()
        self._at = end + 1
        return found

    def row(self) -> Row:
        (count,) = self.unpack("!H")
        return tuple(self._value() for _ in range(count))

    def _value(self) -> Value:
        match self.character():
            case "n":
                return None
            case "u":
                return UNCHANGED
            case "t":
                (length,) = self.unpack("!I")
                return self.take(length).decode()
            case form:
                raise UnreadableLog(f"pgoutput sent a value in form {form!r}; only text was asked for")
