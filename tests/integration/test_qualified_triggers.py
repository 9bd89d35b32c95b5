"""What a writer puts in front of pg_catalog is not run by the trigger functions, which have their owner's rights."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from migration_tools.capture import triggers
from migration_tools.capture.declaration import Fence, TableSpec
from migration_tools.capture.models import Side
from migration_tools.messaging.wake import FUNCTION, TRIGGER
from tests.stage import Stage

SPEC = TableSpec(
    stream="orders",
    table="orders_order",
    key=("id",),
    is_base=True,
    watched=(),
    reported=(),
    echoes=True,
    captured=True,
    fence=Fence.OWNER,
)
KEYWORDS = {"AND", "ANY", "ARRAY", "IF", "OPERATOR", "VALUES", "coalesce", "w", "FROM"}
SHADOWS = """
CREATE SCHEMA hostile;
CREATE TABLE hostile.run (what text);
GRANT ALL ON SCHEMA hostile TO PUBLIC;
GRANT ALL ON hostile.run TO PUBLIC;
"""
SHADOW = """CREATE FUNCTION hostile.{name}({arguments}) RETURNS {result} LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION 'hostile code was run: {name}' USING ERRCODE = 'raise_exception'; END$$"""


def bodies() -> Iterator[tuple[str, str]]:
    """Every function that runs with its owner's rights and no path of its own, by name."""
    yield "fence", triggers._fence_body(SPEC, "shop_owner", Side.SOURCE, "public").as_string()
    yield "replica", triggers._replica_body(SPEC, "shop_owner").as_string()
    yield "truncate", triggers._truncate_body(SPEC, "shop_owner").as_string()
    for event in ("ins", "upd", "del"):
        # Of an update of columns that are reported the function sets the path: it compares by the types' operators.
        spec = SPEC if event == "upd" else replace(SPEC, reported=("status",))
        yield event, triggers._capture_body(spec, event, "shop_owner", 1, "public").as_string()


@pytest.mark.parametrize(("name", "body"), list(bodies()), ids=lambda value: value if len(value) < 9 else "")
def test_every_name_says_its_schema(name: str, body: str) -> None:
    """Words before a bracket, operators, casts and declared types; what looks its operator up by the path is absent."""
    code = re.sub(r"'(?:[^']|'')*'", "''", body)
    called = set(re.findall(r"(?<![.\w])(\w+)\s*\(", code)) - KEYWORDS
    assert not called
    told = re.sub(r"USING ERRCODE = '', HINT = ''", " ", code)
    bare = re.sub(r"OPERATOR\(pg_catalog\.\S+\)", " ", told).replace(":=", " ").replace("::", " ")
    assert not re.findall(r"[<>=|+~@#%^&!]+|->", bare)
    assert all(each.startswith("pg_catalog.") for each in re.findall(r"::(\S+)", code))
    declared = code.partition("BEGIN")[0].replace("DECLARE", "")
    assert all(each.split()[1].startswith("pg_catalog.") for each in declared.split(";") if each.strip())
    assert not re.search(r"\b(IN|DISTINCT|BETWEEN|LIKE|NULLIF|SIMILAR)\b", code)
    assert not re.search(r"\bCASE\s+\w+\s+WHEN\b", code)
    assert re.findall(r'COLLATE ([\w."]+)', code) == ['pg_catalog."C"'] * code.count("COLLATE")


@pytest.fixture
def hostile(stage: Stage) -> Iterator[psycopg.Connection[Any]]:
    """A session in which a schema of the writer's own goes before pg_catalog, with namesakes of what is called."""
    text = FUNCTION + TRIGGER + "".join(body for _, body in bodies())
    with stage.pair.connect("shop") as conn:
        conn.execute(SHADOWS)
        for name in sorted(set(re.findall(r"pg_catalog\.(\w+)\s*\(", text))):
            known = conn.execute(
                """SELECT pg_get_function_identity_arguments(p.oid), p.prorettype::regtype::text FROM pg_proc p
                   WHERE proname = %s AND pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f'
                     AND pg_get_function_identity_arguments(p.oid) NOT LIKE '%%internal%%'
                     AND NOT '"any"'::regtype = ANY (proargtypes)""",
                [name],
            )
            for arguments, result in known.fetchall():
                conn.execute(SHADOW.format(name=name, arguments=arguments, result=result))
        for operator, left, right, result in (
            ("=", "text", "text", "boolean"), ("<>", "text", "text", "boolean"), ("=", "text[]", "text[]", "boolean"),
            ("<>", "text[]", "text[]", "boolean"), ("->>", "jsonb", "text", "text"), ("->", "jsonb", "text", "jsonb"),
            ("=", '"char"', '"char"', "boolean"), (">", "integer", "integer", "boolean"),
            ("=", "name", "text", "boolean"), ("=", "varchar", "text", "boolean"),
        ):  # fmt: skip
            name = f"op_{left}_{right}_{len(operator)}_{ord(operator[0])}".translate(str.maketrans('[]"', "aac"))
            conn.execute(SHADOW.format(name=name, arguments=f"{left}, {right}", result=result))
            conn.execute(
                f"CREATE OPERATOR hostile.{operator} (FUNCTION = hostile.{name}, LEFTARG = {left}, RIGHTARG = {right})"
            )
        for domain in ("text", "jsonb", "int4"):
            conn.execute(f"CREATE DOMAIN hostile.{domain} AS pg_catalog.{domain} CHECK (false)")
        conn.execute("CREATE TABLE hostile.strangle_ownership (context pg_catalog.text, owner pg_catalog.text)")
        conn.execute("CREATE TABLE hostile.strangle_outbox (LIKE public.strangle_outbox)")
        conn.execute("SET search_path = hostile, pg_catalog, public")
        yield conn


def test_namesakes_in_front_of_pg_catalog_are_not_run_by_a_write(hostile: psycopg.Connection[Any]) -> None:
    def seen() -> int:
        row = hostile.execute("SELECT count(*) FROM public.strangle_outbox").fetchone()
        return int(row[0]) if row else 0

    with pytest.raises(psycopg.errors.RaiseException, match="hostile code was run"):
        hostile.execute("SELECT current_setting('strangle.applying', true)")
    before = seen()
    hostile.execute("SELECT pg_catalog.set_config('strangle.context', '{\"causation\": \"x\"}', false)")
    hostile.execute("UPDATE public.orders_order SET note = 'touched'")
    hostile.execute("DELETE FROM public.orders_orderline")
    assert seen() == before + 2
    held = hostile.execute("SELECT count(*) FROM hostile.strangle_outbox").fetchone()
    assert held == (0,)
