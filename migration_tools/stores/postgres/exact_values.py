"""How each type enters a row's image so that two values that read differently never have the same digest.

Note [values in digests]. PostgreSQL's own hashes do not see the whole of a value: bigint, timestamps and times fold 64
bits into 32 first (1 and 4294967296 are one, under every seed), an interval hashes its length ('1 day' is '24 hours'),
citext and nondeterministic collations ignore case, an enum hashes the number that this database gave the label, and
json, xml, geometric types, tsvector, money and bit have no extended hash at all. So values enter as the bytes that
their type sends, which is what a binary COPY carries. Types that are not built in (enums, domains, extensions' types)
enter as text, since the image holds their type's number, which is another on each server.
Numerics enter by value (1.50 is 1.5, NaN is NaN), floats too (-0 is 0), and character(n) as text, which leaves out the
blanks that pad it: that is their declared equality.
"""

import re

from migration_tools.stores.postgres.connection import sql

_BUILT_IN = re.compile(
    r"(bigint|integer|smallint|boolean|text|name|\"char\"|character varying(\(\d+\))?|bit( varying)?(\(\d+\))?|uuid"
    r"|jsonb?|xml|bytea|date|numeric\(\d+,-?\d+\)|(timestamp|time)(\(\d\))? with(out)? time zone"
    r"|interval( [a-z ]+)?(\(\d\))?|money|inet|cidr|macaddr8?|point|line|lseg|box|path|polygon|circle|tsvector|tsquery"
    r"|(int4|int8|ts|tstz|date)(multi)?range)(\[\])?\Z"
)


def exact_value(column: sql.Composable, type_name: str) -> sql.Composable:
    """The column as it enters a record's image; `type_name` is format_type's spelling, the same on both sides."""
    if type_name == "numeric":
        return sql.SQL("trim_scale({})").format(column)
    if type_name in ("double precision", "real"):
        return sql.SQL("({} + 0)").format(column)
    if _BUILT_IN.match(type_name):
        return column
    return sql.SQL("{}::text").format(column)
