"""Rows that stores are tried with: every kind of type, and the values that engines tend to change."""

from migration_tools.stores.ports import Column, Shape, Values


def _shape(into: str, key: tuple[str, ...], **types: str) -> Shape:
    columns = tuple(Column(name=name, type=type_name) for name, type_name in types.items())
    return Shape(name=f"conformance.{into}", into=into, key=key, columns=columns, declaration="conformance")


# The template of a key is a table's name too, for engines that have tables.
LETTERS = _shape("letters:{id}", ("id",), id="bigint", first="text", second="character varying(20)")
PAIRS = _shape("pairs:{tenant}:{code}", ("tenant", "code"), tenant="text", code="text", amount="integer")
EVERYTHING = _shape(
    "everything:{id}",
    ("id",),
    id="bigint",
    label="text",
    total="numeric(12,2)",
    exact="numeric",
    seen="timestamp with time zone",
    local="timestamp(3) without time zone",
    day="date",
    active="boolean",
    token="uuid",  # noqa: S106  (a type)
    ratio="double precision",
    small="real",
    raw="bytea",
    document="jsonb",
    tags="text[]",
    period="tstzrange",
)

AWKWARD: list[Values] = [
    ("1", "plain", "1.50", "1.50", "2026-01-02 03:04:05.1+00", "2026-01-02 03:04:05.12", "2026-01-02", "true",
     "6f1b0f6c-0000-4000-8000-00000000000a", "0.1", "0.1", "\\x00ff270a5c", '{"a": "ü", "b": [1, null, 1e400]}',
     '{a,NULL,"x y"}', '["2026-01-01 00:00:00+00","2026-02-01 00:00:00+00")'),
    ("2", None, None, None, None, None, None, None, None, None, None, None, None, None, None),
    ("3", "", "-0.01", "NaN", "1999-12-31 23:59:59.999999+00", "2026-01-02 00:00:00", "2000-02-29", "false",
     "00000000-0000-0000-0000-000000000000", "-0", "-0", "\\x", '""', "{}", "empty"),
    ("4", "tab\tline\nreturn\r\\back 'quote' \"double\" `tick` {brace} %s %", "9999999999.99",
     "12345678901234567890.123456789012345678900", "2026-06-01 00:00:00.000001+00", "1970-01-01 00:00:00.001",
     "1970-01-01", "true", "ffffffff-ffff-4fff-bfff-ffffffffffff", "NaN", "NaN", "\\xdeadbeef", "null", '{"\\\\"}', "(,)"),
    ("5", "emoji 😀 combining e\u0301 ñ \u200b \u2028 ￿ 中", "0.00", "0.000", "2026-01-01 00:00:00+00",
     "2026-01-01 10:00:00", "2026-12-31", "false", "6f1b0f6c-0000-4000-8000-00000000000b", "1e+300", "3.4028235e+38",
     "\\x27", '{"k": "\\u0001"}', "{NULL}", '["2026-01-01 00:00:00+00",infinity)'),
    ("-9223372036854775808", "\\N", "1.00", "1", "2038-01-19 03:14:08+00", "2038-01-19 03:14:08", "2299-12-30", "true",
     "6f1b0f6c-0000-4000-8000-00000000000c", "5e-324", "1e-45", "\\x5c4e", "[]", '{"",""}', "empty"),
    ("9223372036854775807", "NULL", "-9999999999.99", "-0.5", "1900-01-01 00:00:00+00", "1900-01-01 00:00:00", "1900-01-01",
     "false", "6f1b0f6c-0000-4000-8000-00000000000d", "-Infinity", "Infinity", "\\x0d0a", "1", "{a}", "empty"),
    ("8", " spaces around ", "0.10", "1e-7", "2026-01-01 00:00:00.1234+00", "2026-01-01 00:00:10", "2026-01-10", "true",
     "6f1b0f6c-0000-4000-8000-00000000000e", "9007199254740993", "16777216", "\\x20", "true", "{1,2}", "empty"),
]  # fmt: skip

AWKWARD_KEYS: list[Values] = [
    ("a:b", "c", "1"),
    ("a", "b:c", "2"),
    ("", "", "3"),
    ("%3A", ":", "4"),
    ("ü/é", "*?[x]", "5"),
    ("{id}", "tab\t'quote'\\", "6"),
    ("a", "B", "7"),
    ("a", "b", None),
    ("a ", "b", "9"),
]
