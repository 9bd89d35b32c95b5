"""How each type enters a row's digest so that two values that read differently never hash alike.

Note [values in digests]. A digest may only go by a type's own hash where that hash sees the whole value. It does not:
* bigint, timestamps and times fold 64 bits into 32 before they are hashed (1 and 4294967296 are one), under every seed;
  they enter as their eight bytes, and arrays and ranges of them as theirs;
* an interval hashes its length ('1 day' is '24 hours'), citext ignores case, and text under a nondeterministic
  collation ignores what the collation does: intervals enter as bytes, texts under the collation "C";
* json, xml, geometric types, tsvector, money and bit have no extended hash at all: they enter as their text.
Numerics enter by value (1.50 is 1.5, NaN is NaN) and floats too (-0 is 0): that is their declared equality.
"""

import re

from migration_tools.stores.postgres.connection import sql

_SENT = {
    "bigint": "int8send",
    "timestamp without time zone": "timestamp_send",
    "timestamp with time zone": "timestamptz_send",
    "time without time zone": "time_send",
    "interval": "interval_send",
}
_SENT_RANGES = ("int8range", "tsrange", "tstzrange")
_SENT_MULTIRANGES = ("int8multirange", "tsmultirange", "tstzmultirange")
_AS_TEXT = re.compile(
    r"(json|xml|point|line|lseg|box|path|polygon|circle|tsvector|tsquery|money|bit( varying)?|txid_snapshot|"
    r"pg_snapshot|citext)\b(?!b)"
)
_TEXT = re.compile(r"(text|character varying|character)\b")
_PRECISION = re.compile(r"\(\d+(,\d+)?\)")


def exact_value(column: sql.Composable, type_name: str) -> sql.Composable:
    """The column as it enters a record's hash; `type_name` is format_type's spelling, the same on both sides."""
    plain = _PRECISION.sub("", type_name)
    bare = plain.removesuffix("[]")
    if bare.startswith("interval"):
        bare = "interval"
    if bare in _SENT:
        function = "array_send" if plain.endswith("[]") else _SENT[bare]
    elif plain in _SENT_RANGES:
        function = "range_send"
    elif plain in _SENT_MULTIRANGES:
        function = "multirange_send"
    elif _AS_TEXT.match(plain):
        return sql.SQL('{}::text COLLATE "C"').format(column)
    elif _TEXT.match(plain):
        return sql.SQL('{} COLLATE "C"').format(column)
    else:
        return column
    return sql.SQL("{}({})").format(sql.SQL(function), column)
