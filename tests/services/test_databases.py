"""A database each or a schema each, by one setting: roles are confined, and one that is down takes nobody with it."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator

import httpx2
import psycopg
import pytest
from psycopg import errors, sql

from migration_tools.testing.postgres import EmbeddedPostgres, provision_schemas
from tests.services import rig
from tests.services.rig import NAMES, RunningService

pytest_plugins = ["tests.services.rig"]

Get = Callable[[str], RunningService]

TABLES = {
    "catalog": "shelf_product",
    "inventory": "depot_stock",
    "payments": "billing_payment",
    "users": "people_person",
}
ALIVE_AND_READY = """
from django.db import connection, transaction
from django.test import Client
from migration_tools.messaging.outbox import publish
print([Client().get(path).status_code for path in ("/livez", "/readyz")])
with transaction.atomic():
    publish("thing.happened", aggregate_type="thing", aggregate_id=1, payload={}, stream="things")
with connection.cursor() as cursor:
    cursor.execute("SELECT current_schema(), (SELECT count(*) FROM strangle_outbox)")
    print(cursor.fetchone())
"""


@pytest.fixture(scope="module")
def apart(cluster: EmbeddedPostgres) -> Iterator[dict[str, str]]:
    """A database of its own for every service, made as theirs are."""
    databases = {name: f"{name}_apart_{os.urandom(4).hex()}" for name in NAMES}
    for name, database in databases.items():
        rig.make_database(cluster, name, database)
        with psycopg.connect(cluster.dsn(database, f"{name}_owner")) as connection:
            connection.execute(f"CREATE TABLE {TABLES[name]} (id int)")
    yield databases
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        for database in databases.values():
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", NAMES)
def test_with_a_database_each_a_role_gets_into_its_own_alone(
    cluster: EmbeddedPostgres, apart: dict[str, str], name: str, other: str
) -> None:
    for role in ("app", "owner"):
        dsn = cluster.dsn(apart[other], f"{name}_{role}")
        if name == other:
            with psycopg.connect(dsn) as connection:
                assert connection.execute(f"SELECT count(*) FROM {TABLES[other]}").fetchone() == (0,)
        else:
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                psycopg.connect(dsn)


@pytest.mark.thorough
def test_four_services_are_started_and_each_gets_into_its_own_database_alone(running: Get) -> None:
    """The roles by which they were started, on the databases that they serve from: of 16 only the diagonal works."""
    services = {name: running(name) for name in NAMES}
    with httpx2.Client(timeout=30) as client:
        assert {client.get(f"{each.url}/readyz").status_code for each in services.values()} == {200}
    let_in = set()
    for name in NAMES:
        for other, there in services.items():
            with contextlib.suppress(psycopg.OperationalError):
                there.rows(f"SELECT count(*) FROM {TABLES[other]}", user=f"{name}_app")
                let_in.add((name, other))
    assert let_in == {(name, name) for name in NAMES}
    # By the service's own settings too, and not only by its role.
    name, other = NAMES[0], NAMES[1]
    look = "from django.db import connection; connection.ensure_connection()"
    pointed = {f"{name.upper()}_DB_NAME": services[other].database, f"{name.upper()}_DB_USER": f"{name}_app"}
    done = services[name].manage("shell", "-v0", "-c", look, **pointed)
    assert done.returncode != 0
    assert "permission denied for database" in done.stderr


@pytest.fixture(scope="module")
def shared(cluster: EmbeddedPostgres) -> Iterator[str]:
    """One database in which every service has a schema, migrated by itself."""
    database = f"services_{os.urandom(4).hex()}"
    provision_schemas(cluster, database, NAMES)
    waiting = [
        subprocess.Popen(
            [rig.sys.executable, "manage.py", "migrate", "-v0", "--settings", f"extracted_services.{name}.settings"],
            cwd=rig.ROOT, env=_environment(name, database, "owner"), stderr=subprocess.PIPE, text=True,
        )
        for name in NAMES
    ]  # fmt: skip
    said = [(each.communicate(timeout=120)[1], each.returncode) for each in waiting]
    assert [code for _, code in said] == [0] * len(NAMES), said
    yield database
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", NAMES)
def test_with_a_schema_each_a_role_sees_its_own_alone(
    cluster: EmbeddedPostgres, shared: str, name: str, other: str
) -> None:
    for role in ("app", "owner"):
        with psycopg.connect(cluster.dsn(shared, f"{name}_{role}"), autocommit=True) as connection:
            ask = f"SELECT count(*) FROM {other}.{TABLES[other]}"
            if name == other:
                assert connection.execute(ask).fetchone() == (0,)
                assert connection.execute(f"DELETE FROM {other}.{TABLES[other]}").rowcount == 0
                continue
            for statement in (ask, f"DELETE FROM {other}.{TABLES[other]}", f"SELECT * FROM {other}.strangle_outbox"):
                with pytest.raises(errors.InsufficientPrivilege):
                    connection.execute(statement)


def test_a_service_in_a_schema_serves_and_publishes_as_one_with_a_database(shared: str) -> None:
    env = {**_environment("payments", shared, "app"), "SHOP_ALLOWED_HOSTS": "testserver"}
    done = rig.manage("payments", "shell", "-v0", "-c", ALIVE_AND_READY, env=env)
    assert done.stdout.split("\n")[:2] == ["[200, 200]", "('payments', 1)"], done.stderr


def refusal(name: str, **variables: str) -> str:
    """What a service says to variables with which it does not start."""
    done = rig.manage(name, "check", env={**rig.environment(name, name, "app"), **variables})
    assert done.returncode != 0
    return done.stderr.strip().splitlines()[-1]


def test_a_mode_that_is_none_is_refused_with_those_there_are() -> None:
    said = refusal("payments", SERVICES_DATABASE_MODE="sharded")
    assert "it must be one of ['instance', 'schema', 'polyglot']" in said


def test_all_mistakes_of_where_rows_are_said_at_once_with_what_to_write_instead() -> None:
    further = {"INVENTORY_DB_PORT": "pg", "INVENTORY_DB_DIRECT": "pg"}
    said = refusal("inventory", SERVICES_DATABASE_MODE="sharded", INVENTORY_STORE_ENGINE="mongo", **further)
    assert [word in said for word in ("SERVICES_DATABASE_MODE is", "DB_PORT is", "DB_DIRECT is")] == [True] * 3
    assert "INVENTORY_STORE_ENGINE is 'mongo'; it must be one of ['postgresql', 'mongodb']" in said


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SERVICES_DATABASE_MODE": "polyglot"}, "INVENTORY_STORE_URL is empty; it must be like mongodb://"),
        ({"INVENTORY_STORE_ENGINE": "mongodb", "INVENTORY_STORE_URL": "redis://x:secret@y"}, "begins otherwise"),
        ({"INVENTORY_STORE_URL": "mongodb://x"}, "is set and nobody would use it"),
    ],
    ids=["no URL", "another's URL", "no engine"],
)
def test_an_engine_and_its_url_are_named_together_or_not_at_all(variables: dict[str, str], words: str) -> None:
    said = refusal("inventory", **variables)
    assert words in said
    assert "secret" not in said


ENGINES = """
from django.conf import settings
from django.db import connection
print(getattr(settings, "STOCK_ENGINE", "postgresql"), connection.settings_dict["NAME"])
"""


@pytest.mark.parametrize(
    ("name", "engine"),
    [("inventory", "mongodb"), *(pytest.param(each, "postgresql", marks=pytest.mark.thorough) for each in ("users",))],
)
def test_one_setting_gives_each_service_the_engine_that_it_has(name: str, engine: str) -> None:
    env = {**rig.environment(name, "its_own", "app"), "SERVICES_DATABASE_MODE": "polyglot"}
    env["INVENTORY_STORE_URL"] = "mongodb://nowhere.invalid/inventory"
    done = rig.manage(name, "shell", "-v0", "-c", ENGINES, env=env)
    assert done.stdout.split() == [engine, "its_own"], done.stderr


@pytest.mark.thorough
def test_one_instance_that_is_down_leaves_the_services_of_the_others_serving(
    running: Get, cluster: EmbeddedPostgres
) -> None:
    """The catalogue on a server of its own goes down; the stock, on another, is served; the catalogue comes back."""
    with EmbeddedPostgres() as own, pytest.MonkeyPatch.context() as patch:
        stock = running("inventory")
        stock.rows("INSERT INTO depot_stock (product_id, on_hand) VALUES (999, 5) ON CONFLICT DO NOTHING")
        patch.setenv("STRANGLE_TEST_PG_PORT", str(own.port))
        patch.setenv("STRANGLE_TEST_PG_PASSWORD", own.password)
        with rig.served(own, "catalog") as catalog, httpx2.Client(timeout=30) as client:

            def codes() -> list[int]:
                of_catalog = (f"{catalog.url}{path}" for path in ("/readyz", "/livez", "/api/products/"))
                of_stock = (f"{stock.url}{path}" for path in ("/readyz", "/livez", "/api/stock/999/"))
                return [client.get(url).status_code for url in (*of_catalog, *of_stock)]

            assert codes() == [200, 200, 200, 200, 200, 200]
            own.stop("immediate")
            assert codes() == [503, 200, 500, 200, 200, 200]
            own.start()
            assert codes() == [200, 200, 200, 200, 200, 200]


def _environment(name: str, database: str, role: str) -> dict[str, str]:
    return {**rig.environment(name, database, role), "SERVICES_DATABASE_MODE": "schema"}
