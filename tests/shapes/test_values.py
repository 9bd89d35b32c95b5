"""Values of every type, the awkward ones too, stay what they are through copy, sync, comparison and the way back."""

from collections.abc import Callable

import pytest

from migration_tools.capture.models import Side
from migration_tools.errors import TransferError
from migration_tools.playbook import Projection
from tests.conftest import Pair
from tests.shapes.columns import OWN_TYPES, TYPES
from tests.shapes.scene import Shape

Shaped = Callable[..., Shape]

PLAIN = {
    "small": "7", "num": "1.50", "num2": "12.34", "dbl": "0.1", "flt": "0.1", "cash": "1234.56", "txt": "text",
    "vc": "varchar", "ch": "ab", "chv": "ab", "raw": "\\x00ff", "ts": "2026-01-02 03:04:05.678901",
    "tz": "2026-01-02 03:04:05.678901+05:30", "tz3": "2026-01-02 03:04:05.678+00", "day": "2026-02-28",
    "tm": "23:59:59.999999", "tmz": "23:59:59.999999+02", "iv": "1 mon 2 days 03:04:05.6", "flag": "t",
    "uid": "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "jb": '{"b": 1, "a": [null, 1.0]}',
    "js": '{"b": 1,  "a": [null], "b": 2}', "ip": "10.0.0.1", "net": "10.0.0.0/8", "mac": "08:00:2b:01:02:03",
    "mac8": "08:00:2b:01:02:03:04:05", "bits": "10101", "vbits": "1", "ints": "{1,NULL,3}", "texts": '{a,"b c",NULL}',
    "grid": "{{1.0,2},{3,4.00}}", "rng": "[1,5)", "trng": "[2026-01-01 00:00+00,)", "mrng": "{[1,2),[3.5,4]}",
    "search": "'fox':3A 'quick':2", "pt": "(1.5,-0)", "mood": "ok", "moods": "{sad,NULL}",
    "mail": "a@b", "pos": "5", "pair_": '(1,"x, ""y""")', "span": "[sad,ok]",
}  # fmt: skip
# What two of them are equal to without being the same, what sorts oddly, and what drivers stumble over.
AWKWARD = {
    "small": ["-32768", "0"],
    "num": ["NaN", "Infinity", "-Infinity", "1.500", "0.000", "1e100", "12345678901234567890.123456789012345678901"],
    "num2": ["NaN", "0.00", "-9999999999.99"],
    "dbl": ["NaN", "Infinity", "-Infinity", "-0", "0", "5e-324", "1.7976931348623157e308", "0.30000000000000004"],
    "flt": ["NaN", "-Infinity", "-0", "1e-45", "3.4028235e38"],
    "cash": ["-0.01", "92233720368547758.07"],
    "txt": [
        "",
        " ",
        "NULL",
        "null",
        "\\N",
        "\\.",
        "%s",
        "{}",
        "é",
        "e\u0301",
        "🤷🏽‍♀️",
        "tab\tline\r\n",
        "\x01\x7f",
        "'\"\\",
    ],
    "vc": ["", "ends in space ", "😀" * 20],
    "ch": ["", "  lead", "ünï 😀", "trail "],
    "chv": ["", "  lead"],
    "raw": ["\\x", "\\x5c2e0a", "\\xdeadbeef"],
    "ts": ["infinity", "-infinity", "0001-01-01 00:00:00", "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999"],
    "tz": ["infinity", "-infinity", "0001-01-01 00:00:00+00", "2026-10-25 02:30:00+02", "2026-10-25 02:30:00+01"],
    "tz3": ["2026-01-02 03:04:05.999+00"],
    "day": ["infinity", "-infinity", "5874897-12-31", "0044-03-15 BC"],
    "tm": ["24:00:00", "00:00:00.000001"],
    "tmz": ["24:00:00-15:59", "12:00:00+00", "13:00:00+01"],
    "iv": ["1 day", "24:00:00", "30 days", "1 mon", "-1 year -1 day +00:00:00.000001", "178000000 years"],
    "flag": ["f"],
    "jb": ["null", '""', "[]", "1.0", "1.00", "1e400", "123456789012345678901234567890", '{"é": "\\u0001 😀"}', '" "'],
    "js": ["null", '{"a":1}', '{"a": 1}', "1.0", "1.00", '"\\u0000"'],
    "ip": ["10.0.0.1/8", "::1", "fe80::1/64", "0.0.0.1"],
    "net": ["::/0"],
    "bits": ["00000"],
    "vbits": ["", "0000"],
    "ints": ["{}", "[5:6]={1,2}", "{NULL}"],
    "texts": ["{}", '{""}', "{NULL}", '{"NULL"}', '{"{}",",","\\\\"}'],
    "grid": ["{NaN}", "{1}", "{1.0}"],
    "rng": ["empty", "(,)", "[1,)"],
    "trng": ["empty", "(-infinity,infinity)"],
    "mrng": ["{}", "{(,)}"],
    "search": ["", "'a''b':1,16383"],
    "pt": ["(NaN,Infinity)"],
    "mood": ["sad", "happy day"],
    "moods": ["{}", '{"happy day",ok}'],
    "mail": ["@"],
    "pos": ["2147483647"],
    "pair_": ["(,)", '(,"")'],
    "span": ["empty"],
}


def table(name: str, side: int) -> str:
    """CREATE TABLE of one side."""
    return f"CREATE TABLE {name} (id bigint PRIMARY KEY, {', '.join(f'{c} {t[side]}' for c, t in TYPES.items())})"


def row(number: int, **changes: str | None) -> str:
    """INSERT of a row of plain values with changes; every value as a literal of its type."""
    values = {**PLAIN, **changes}
    texts = ", ".join(f"{literal(value)}::{TYPES[name][0]}" for name, value in values.items())
    return f"INSERT INTO shapes_thing (id, {', '.join(values)}) VALUES ({number}, {texts})"


def literal(value: str | None) -> str:
    """A value as PostgreSQL's literal that needs no settings."""
    if value is None:
        return "NULL"
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"E'{escaped}'"


def view(table_name: str) -> str:
    """All columns by their text, the lengths of strings beside them, NULL apart from ''."""
    texts = [f"coalesce({name}::text, '<NULL>') AS {name}" for name in TYPES if name not in {"num2", "chv"}]
    apart = "num2::numeric(20,6) n2, rtrim(chv::text) c, octet_length(txt) o"
    return f"SELECT id, {apart}, {', '.join(texts)} FROM {table_name}"


@pytest.fixture
def things(shaped: Shaped) -> Shape:
    """A table with a column of every type, on both sides."""
    rows = [row(1), *(row(n, **{name: None}) for n, name in enumerate(TYPES, 2) if name != "mail")]
    return shaped(
        [Projection("shapes.Thing", into="svc_thing", key={"id": "id"}, columns={name: name for name in TYPES})],
        {"things": (view("shapes_thing"), view("svc_thing"))},
        source=["SET lc_monetary = 'C'", OWN_TYPES[0], table("shapes_thing", 0), *rows],
        target=[OWN_TYPES[1], table("svc_thing", 1)],
    )


def test_values_of_every_type_go_there_and_back(things: Shape) -> None:
    number = 1_000
    inserts = []
    for name, values in AWKWARD.items():
        for value in values:
            number += 1
            inserts.append(row(number, **{name: value}))
    half = len(inserts) // 2
    for insert in inserts[:half]:
        things.shop.execute(insert)
    things.copy_between(inserts[half : half + 5])
    things.together(inserts[half + 5 :])
    assert things.differences() == []
    assert things.verified() == []
    things.carry(live=[], back=["UPDATE svc_thing SET txt = txt || '!', vc = left(vc, 19) || '?'"])


def test_a_value_too_long_for_the_other_side_stops_the_stream_and_is_not_cut(things: Shape) -> None:
    things.copy_between()
    things.hand_over(Side.TARGET)
    things.orders.execute("UPDATE svc_thing SET vc = repeat('x', 21) WHERE id = 1")
    things.tick(reverse=True)
    with pytest.raises(TransferError, match=r"'shapes_thing' .*too long for type character varying\(20\); .*widen"):
        things.consume(reverse=True)
    things.shop.execute("ALTER TABLE shapes_thing ALTER vc TYPE text")
    things.consume(reverse=True)
    assert things.differences() == []


SAME_BUT_EQUAL = [
    ("num", "1.50", "1.500"), ("dbl", "0", "-0"), ("iv", "1 day", "24:00:00"), ("jb", "1.0", "1.00"),
    ("js", '{"a":1}', '{"a": 1}'), ("grid", "{1}", "{1.0}"), ("tmz", "12:00:00+00", "13:00:00+01"),
    ("mood", "ok", "sad"), ("txt", "é", "e\u0301"), ("txt", "", None), ("ip", "10.0.0.1", "10.0.0.1/8"),
    ("pt", "(0,0)", "(-0,0)"), ("mrng", "{[1,2)}", "{[1.0,2)}"), ("jb", "null", None), ("ints", "{1}", "[2:2]={1}"),
]  # fmt: skip


def test_a_value_that_changes_into_an_equal_one_is_carried(things: Shape) -> None:
    for n, (name, value, _) in enumerate(SAME_BUT_EQUAL, 2_000):
        things.shop.execute(row(n, **{name: value}))
    things.copy_between()
    for n, (name, _, value) in enumerate(SAME_BUT_EQUAL, 2_000):
        things.shop.execute(f"UPDATE shapes_thing SET {name} = {literal(value)} WHERE id = {n}")
    things.settle()
    assert things.differences() == []


@pytest.mark.parametrize(("column", "value"), [("mood", "sad"), ("iv", "24:00:00"), ("txt", ""), ("moods", "{ok,ok}")])
def test_verification_sees_a_difference_that_equality_or_an_oid_would_hide(
    things: Shape, column: str, value: str
) -> None:
    things.shop.execute(row(9_000, iv="1 day", txt=None))
    things.copy_between()
    assert things.verified() == []
    with things.orders.transaction():
        things.orders.execute("SELECT set_config('strangle.applying', 'row', true)")
        things.orders.execute(f"UPDATE svc_thing SET {column} = {literal(value)} WHERE id = 9000")
    assert [(key, [f.column for f in fields]) for _, _, key, _, fields in things.verified()] == [(("9000",), [column])]


def test_citext_and_hstore_go_there_and_back(shaped: Shaped, pair: Pair) -> None:
    with pair.connect("shop") as conn:
        if conn.execute(
            "SELECT count(*) FROM pg_available_extensions WHERE name IN ('citext', 'hstore')"
        ).fetchone() != (2,):
            pytest.skip("this PostgreSQL has no contrib extensions; STRANGLE_TEST_PG_VERSION=15 has")
    extensions = "CREATE EXTENSION citext; CREATE EXTENSION hstore"
    shape = shaped(
        [Projection("shapes.Word", into="svc_word", key={"word": "spelling"}, columns={"meaning": "meaning"})],
        {"words": ("SELECT spelling, meaning FROM shapes_word", "SELECT word, meaning FROM svc_word")},
        source=[
            extensions,
            "DROP TABLE shapes_word",
            "CREATE TABLE shapes_word (spelling citext PRIMARY KEY, meaning hstore)",
            """INSERT INTO shapes_word SELECT chr(65 + n) || n, hstore('k' || n, NULL) FROM generate_series(1, 12) n""",
        ],
        target=[extensions, "CREATE TABLE svc_word (word citext PRIMARY KEY, meaning hstore)"],
    )
    shape.carry(
        live=[
            "UPDATE shapes_word SET spelling = lower(spelling) WHERE spelling > 'e'",
            """UPDATE shapes_word SET meaning = '"a b"=>"NULL", c=>NULL, d=>""' WHERE spelling < 'd'""",
            "DELETE FROM shapes_word WHERE spelling = 'B1'",
        ],
        back=["UPDATE svc_word SET word = upper(word)", "UPDATE svc_word SET meaning = 'x=>1' WHERE word = 'c2'"],
    )
