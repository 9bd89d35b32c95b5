"""How each type enters a row's digest so that two values that read differently never have the same one.

Note [values in digests]. PostgreSQL's own hashes do not see the whole of every value: bigint, timestamps and times fold
64 bits into 32 first (1 and 4294967296 are one, under every seed), an interval hashes its length ('1 day' is '24
hours'), a numeric leaves out its sign, a jsonb where an array in it ends, citext and nondeterministic collations ignore
case, an enum hashes the number that this database gave the label, and json, xml, geometric types, tsvector, money and
bit have no extended hash at all. So only types whose hash is of all their bytes enter as they are, others as the bytes
that their type sends, which is what a binary COPY carries, or as their text. Types that are not built in (enums,
domains, extensions' types) enter as text too, since a record's bytes hold their type's number, which is another on each
server.
Numerics enter by value (1.50 is 1.5, NaN is NaN), floats too (-0 is 0), and character(n) as text, which leaves out the
blanks that pad it: that is their declared equality.
"""

import re
from collections.abc import Iterator, Sequence

from migration_tools.stores.postgres.connection import sql

_WHOLE = re.compile(r"(smallint|integer|boolean|date|uuid|bytea|double precision|real)\Z")
_TEXT = re.compile(r"(text|character varying(\(\d+\))?)\Z")
_SENT = (
    (re.compile(r"bigint\Z"), "int8send({})"),
    (re.compile(r"timestamp(\(\d\))? with time zone\Z"), "timestamptz_send({})"),
    (re.compile(r"timestamp(\(\d\))? without time zone\Z"), "timestamp_send({})"),
    (re.compile(r"time(\(\d\))? with time zone\Z"), "timetz_send({})"),
    (re.compile(r"time(\(\d\))? without time zone\Z"), "time_send({})"),
    (re.compile(r"interval( [a-z ]+)?(\(\d\))?\Z"), "interval_send({})"),
    (re.compile(r"numeric\(\d+,-?\d+\)\Z"), "numeric_send({})"),
    (re.compile(r"numeric\Z"), "numeric_send(trim_scale({}))"),
    (re.compile(r"jsonb\Z"), "jsonb_send({})"),
)
_IN_AN_IMAGE = re.compile(
    r"((bigint|integer|smallint|boolean|text|character varying(\(\d+\))?|uuid|jsonb?|bytea|date|numeric\(\d+,-?\d+\)"
    r"|(timestamp|time)(\(\d\))? with(out)? time zone|interval( [a-z ]+)?(\(\d\))?)\[\]"
    r"|(name|\"char\"|bit( varying)?(\(\d+\))?|xml|money|inet|cidr|macaddr8?|point|line|lseg|box|path|polygon|circle"
    r"|tsvector|tsquery|(int4|int8|ts|tstz|date)(multi)?range)(\[\])?)\Z"
)


def exact_values(columns: Sequence[tuple[sql.Composable, str]], *, encoding: str = "UTF8") -> list[sql.Composable]:
    """Expressions whose record's hash sees all of these columns; types are format_type's spelling, alike on both sides.

    `encoding` is the database's. What has no hash or expression of its own enters as one image of all such columns.
    """
    found: list[sql.Composable] = []
    image: list[sql.Composable] = []
    for column, type_name in columns:
        if _IN_AN_IMAGE.match(type_name):
            image.append(column)
        else:
            found += _values(column, type_name, encoding)
    if image:
        found.append(sql.SQL("record_send(ROW({}))").format(sql.SQL(", ").join(image)))
    return found


def _values(column: sql.Composable, type_name: str, encoding: str) -> Iterator[sql.Composable]:
    if _WHOLE.match(type_name):
        yield column
    elif sent := next((how for pattern, how in _SENT if pattern.match(type_name)), None):
        yield sql.SQL(sent).format(column)
    else:
        text = column if _TEXT.match(type_name) else sql.SQL("{}::text").format(column)
        # Both hash as their bytes do, so a database of another encoding has the same digest.
        how = '{} COLLATE "C"' if encoding == "UTF8" else "convert_to({}, 'UTF8')"
        yield sql.SQL(how).format(text)
