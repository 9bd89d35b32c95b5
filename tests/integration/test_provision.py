"""What `strangle_provision` makes: a database or a schema of a service's own, and roles that see no other."""

import json
import os
from collections.abc import Iterator
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from psycopg import sql

from tests.conftest import Cluster, Pair


def told(*args: str) -> dict[str, Any]:
    out = StringIO()
    call_command("strangle_provision", *args, "--format", "json", stdout=out)
    return dict(json.loads(out.getvalue()))


@pytest.fixture
def names(pair: Pair) -> Iterator[tuple[str, str]]:
    """Two sides that nothing is called like, gone afterwards, made by the server's administrator."""
    made = tuple(f"{side}_{os.urandom(3).hex()}" for side in ("ledger", "depot"))
    connections["default"].settings_dict["USER"] = "postgres"
    yield made[0], made[1]
    with psycopg.connect(pair.cluster.dsn(), autocommit=True) as conn:
        for name in (*made, f"both_{made[0]}"):
            conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        for role in (f"{name}_{kind}" for name in made for kind in ("owner", "app")):
            conn.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


def login(cluster: Cluster, database: str, role: str) -> psycopg.Connection[Any]:
    with psycopg.connect(cluster.dsn(), autocommit=True) as conn:
        conn.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(cluster.password)))
    return psycopg.connect(cluster.dsn(database, role), autocommit=True)


def make_rows(cluster: Cluster, database: str, side: str, table: str) -> None:
    with login(cluster, database, f"{side}_owner") as conn:
        conn.execute(f"CREATE TABLE {table} (id int)")
    with login(cluster, database, f"{side}_app") as conn:
        conn.execute(f"INSERT INTO {table} VALUES (1)")
        assert conn.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(f"DROP TABLE {table}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(f"CREATE TABLE {table}_of_mine ()")


def test_a_side_gets_a_database_or_a_schema_of_its_own_and_gets_into_no_other(
    pair: Pair, names: tuple[str, str]
) -> None:
    ledger, depot = names
    plan = told(ledger, "--apply", "--dry-run")
    assert not plan["applied"]
    assert plan["sql"][2].endswith("\\gexec")
    for _ in range(2):
        assert told(ledger, "--apply", "--operator", "strangler")["applied"], "run again it changes nothing"
    make_rows(pair.cluster, ledger, ledger, "entry")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        login(pair.cluster, pair.shop, f"{ledger}_app")
    with psycopg.connect(pair.cluster.dsn(ledger, "strangler"), autocommit=True) as conn:
        conn.execute("ALTER TABLE entry ADD COLUMN note text")

    shared = ("--mode", "schema", "--in", f"both_{ledger}", "--apply")
    for side in (ledger, depot):
        told(side, *shared)
        make_rows(pair.cluster, f"both_{ledger}", side, f"{side}.thing")
    for kind in ("owner", "app"):
        with (
            login(pair.cluster, f"both_{ledger}", f"{depot}_{kind}") as conn,
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for schema"),
        ):
            conn.execute(f"SELECT * FROM {ledger}.thing")

    connections["default"].settings_dict["USER"] = "shop_app"
    with pytest.raises(CommandError, match="CREATEDB and CREATEROLE"):
        told("nobody", "--apply")
    for wrong in (("Orders",), ("orders", "--mode", "schema"), ("orders", "--in", "shop")):
        with pytest.raises(CommandError) as caught:
            told(*wrong)
        assert caught.value.returncode == 2
