"""Values as ClickHouse's TabSeparated writes and reads them, from and to the text that streams carry."""

import re
from collections.abc import Iterator, Sequence

from migration_tools.errors import StoreError
from migration_tools.stores.canonical import Kind, decimal_size
from migration_tools.stores.ports import Column

LARGEST_PRECISION = 76
# DateTime64(6) and Date32 are exact in these years; outside them older servers clamp without a word.
_DAY = re.compile(r"(19\d\d|2[0-2]\d\d)-\d\d-\d\d\Z")
_MOMENT = re.compile(r"(19\d\d|2[0-2]\d\d)-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\Z")
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\b": "\\b", "\f": "\\f", "\0": "\\0", "'": "\\'"}
_ESCAPABLE = re.compile("[" + re.escape("".join(_ESCAPES)) + "]")
_UNESCAPES = {"t": b"\t", "n": b"\n", "r": b"\r", "b": b"\b", "f": b"\f", "0": b"\0"}
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


def kind_held(column: Column) -> Kind:
    """The kind a column has in ClickHouse: text where no type of its own would be exact."""
    size = decimal_size(column.type)
    return Kind.TEXT if size is not None and size[0] > LARGEST_PRECISION else column.kind


def encode(column: Column, text: str | None) -> bytes:
    """One field of a block.

    Raises:
        StoreError: the type in ClickHouse cannot hold the value exactly; the value is not in the message.
    """
    if text is None:
        return b"\\N"
    kind = kind_held(column)
    if kind is Kind.BYTES:
        # Every byte as an escape of its own: a block stays text whatever the bytes are.
        return re.sub("(..)", r"\\x\1", text.removeprefix("\\x")).encode()
    if kind is Kind.MOMENT:
        plain = text.removesuffix("+00")
        return _fit(column, plain, bool(_MOMENT.match(plain)) and plain != text)
    if kind is Kind.TIMESTAMP:
        return _fit(column, text, bool(_MOMENT.match(text)))
    if kind is Kind.DATE:
        return _fit(column, text, bool(_DAY.match(text)))
    if kind is Kind.DECIMAL:
        return _fit(column, text, text != "NaN")
    return escape(text).encode()


def escape(text: str) -> str:
    """Text as a field, or as a parameter of a statement."""
    return _ESCAPABLE.sub(lambda found: _ESCAPES[found[0]], text)


def decode(block: bytes) -> Iterator[tuple[str | None, ...]]:
    """The rows of a TabSeparated answer, each field as text."""
    for line in block.split(b"\n")[:-1]:
        yield tuple(_field(part) for part in line.split(b"\t"))


def encode_rows(columns: Sequence[Column], rows: Sequence[Sequence[str | None]]) -> bytes:
    """Rows as a block."""
    return b"".join(
        b"\t".join(encode(column, value) for column, value in zip(columns, row, strict=True)) + b"\n" for row in rows
    )


def _field(raw: bytes) -> str | None:
    if raw == b"\\N":
        return None
    if b"\\" in raw:
        raw = _ESCAPED.sub(lambda found: _UNESCAPES.get(found[1].decode("latin-1"), found[1]), raw)
    return raw.decode()


def _fit(column: Column, text: str, fits: bool) -> bytes:
    if not fits:
        raise StoreError(
            f"column {column.name!r} ({column.type}) has a value that ClickHouse's type cannot hold exactly; name the "
            "column in the replica's `as_text`, then copy it anew with --restart"
        )
    return text.encode()
