"""One customer in several contexts: each keeps its declared part of them, linked by a number and an id."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import psycopg
import pytest
from psycopg.errors import UniqueViolation

from tests.conftest import ROOT, Cluster
from tests.services import rig
from tests.services.rig import FEED_TOKEN_MONOLITH, RunningService

pytest_plugins = ["tests.services.rig"]

Get = Callable[[str], RunningService]
Columns = dict[str, list[str]]

SERVICES = sorted(path.parent.name for path in ROOT.glob("extracted_services/*/settings.py"))
# What a column about a person is called, whatever the table.
TELLING = ("customer", "user", "person", "payer", "buyer", "email", "name", "phone", "birth", "ship_to", "password")

SCHEMA = """
import django, json
django.setup()
from django.apps import apps
models = [each for each in apps.get_models() if each.__module__.startswith("extracted_services.")]
print(json.dumps({each._meta.db_table: [f.column for f in each._meta.local_concrete_fields] for each in models}))
"""


def schema_of(service: str) -> Columns:
    """The tables of a service with their columns; that migrations make these is checked where it is served."""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": f"extracted_services.{service}.settings"}
    done = subprocess.run(
        [sys.executable, "-c", SCHEMA], cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=60
    )
    found: Columns = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def schemas() -> dict[str, Columns]:
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(SERVICES, pool.map(schema_of, SERVICES), strict=True))


@pytest.fixture(scope="module")
def declared() -> dict[str, Any]:
    return tomllib.loads((ROOT / "extracted_services" / "customers.toml").read_text())


def mistakes(schemas: dict[str, Columns], declared: dict[str, Any]) -> Iterator[str]:
    """What is stored of customers and not declared, and what is declared and not stored."""
    not_theirs = set(declared["not_theirs"])
    tables = {f"{service}.{table}": columns for service, found in schemas.items() for table, columns in found.items()}
    said = {
        f"{service}.{table}": what
        for service, found in declared.items()
        if service != "not_theirs"
        for table, what in found.items()
    }
    yield from (f"{table} is declared and not there" for table in said.keys() - tables.keys())
    for table, columns in tables.items():
        if table in said:
            of_table = [column for columns in said[table].values() for column in columns]
            yield from (f"{table}.{column} is not declared" for column in columns if column not in of_table)
            yield from (f"{table}.{column} is declared and not there" for column in of_table if column not in columns)
        else:
            telling = [column for column in columns if any(word in column for word in TELLING)]
            yield from (
                f"{table}.{column} seems a customer's, and is not declared"
                for column in telling
                if f"{table}.{column}" not in not_theirs
            )


@pytest.mark.thorough
def test_each_service_keeps_what_is_declared_of_a_customer_and_nothing_else(
    schemas: dict[str, Columns], declared: dict[str, Any]
) -> None:
    assert sorted(mistakes(schemas, declared)) == []


def test_a_field_that_is_kept_and_not_declared_is_found(schemas: dict[str, Columns], declared: dict[str, Any]) -> None:
    more = {service: {table: [*columns] for table, columns in found.items()} for service, found in schemas.items()}
    more["orders"]["sales_customer"].append("birthday")
    more["inventory"]["depot_movement"].append("customer_email")
    more["payments"]["billing_address"] = ["id", "phone"]
    more["gateway"]["gateway_user"].remove("name")
    assert sorted(mistakes(more, declared)) == [
        "gateway.gateway_user.name is declared and not there",
        "inventory.depot_movement.customer_email seems a customer's, and is not declared",
        "orders.sales_customer.birthday is not declared",
        "payments.billing_address.phone seems a customer's, and is not declared",
    ]


COME = """INSERT INTO people_person (id, email, password_hash, given_name, family_name, works_here, may_everything,
    active, joined_at) OVERRIDING SYSTEM VALUE
    SELECT n, 'n' || n || '@example.com', '!', 'N', 'N', false, false, true, now()
    FROM generate_series(%s::int, %s::int) n"""
MAP = "SELECT person_id, public_id::text FROM people_public_id ORDER BY 1"
BOTH = "SELECT person_id, public_id::text FROM people_public_id JOIN people_person p ON p.id = person_id"
HEAR = """
from django.db import transaction
from migration_tools.messaging.handlers import find
from migration_tools.testing.deliveries import sample
for said in {said!r}:
    event = sample("user.known", said, stream="users", aggregate_type="user", aggregate_id=said["user_id"])
    with transaction.atomic():
        for handler, lifted in find(event, "names"):
            handler.function(lifted)
"""


@pytest.mark.thorough
def test_customers_have_one_id_each_whoever_brings_them_and_orders_know_them_by_it(running: Get) -> None:
    users, orders = running("users"), running("orders")
    # As the operator's role copies them; and once more, as a copy that is begun anew does.
    rounds = []
    for _ in range(2):
        users.rows("DELETE FROM people_person WHERE id > 900000")
        users.rows(COME, 900_001, 900_020, user="strangler")
        rounds.append([pair for pair in users.rows(MAP) if pair[0] > 900_000])
    assert [number for number, _ in rounds[0]] == list(range(900_001, 900_021))
    assert rounds[1] == rounds[0]
    with httpx2.Client(base_url=users.url, headers={"Authorization": f"Bearer {FEED_TOKEN_MONOLITH}"}) as monolith:
        body = {"email": "ids@example.com", "password": "long enough", "first_name": "Ida", "last_name": "Ids"}
        number = monolith.post("/internal/accounts/", json=body).json()["id"]
    (here,) = users.rows("SELECT public_id::text FROM people_public_id WHERE person_id = %s", number)
    with users.browser(number) as browser:
        shown = browser.get("/api/accounts/me/public-id/")
        assert shown.json() == {"id": number, "public_id": here[0]}
    with users.browser(999_999) as stranger:
        assert stranger.get("/api/accounts/me/public-id/").status_code == 404

    # Both ways: as many ids as customers, none twice, none without a customer; and PostgreSQL keeps it so.
    people = users.rows("SELECT count(*) FROM people_person")
    assert people == users.rows(f"SELECT count(DISTINCT public_id) FROM ({BOTH}) b")
    for taken in ((number, "gen_random_uuid()"), (999_998, f"'{here[0]}'::uuid")):
        with pytest.raises(UniqueViolation):
            users.rows(f"INSERT INTO people_public_id VALUES ({taken[0]}, {taken[1]})")

    assert users.manage("strangle_state_events", "users").returncode == 0
    published = users.rows("SELECT payload FROM strangle_outbox WHERE event_type = 'user.known' ORDER BY seq")
    said = [payload for (payload,) in published]
    assert said[0] == {"user_id": number, "public_id": here[0]}, "signing up says it at once"
    heard = orders.manage("shell", "-v0", "-c", HEAR.format(said=said))
    assert heard.returncode == 0, heard.stderr
    assert orders.rows("SELECT id, public_id::text FROM sales_customer ORDER BY 1") == users.rows(f"{BOTH} ORDER BY 1")


@pytest.mark.thorough
def test_customers_who_were_there_before_the_ids_get_them_in_batches_and_the_way_back_is_open(cluster: Cluster) -> None:
    database = f"users_ids_{os.urandom(4).hex()}"
    rig.make_database(cluster, "users", database)  # type: ignore[arg-type]
    env = rig.environment("users", database, "owner")

    def migrate(to: str) -> None:
        done = rig.manage("users", "migrate", "-v0", "users_service", to, env=env)
        assert done.returncode == 0, done.stderr

    with psycopg.connect(cluster.dsn(database), autocommit=True) as conn:
        try:
            migrate("0002")
            conn.execute(COME.encode(), [-3, 12_000])
            for _ in range(2):
                migrate("0003")
                found = conn.execute("SELECT count(*), count(DISTINCT public_id) FROM people_public_id").fetchone()
                assert found == (12_004, 12_004)
                migrate("0002")
        finally:
            conn.close()
            with psycopg.connect(cluster.dsn(), autocommit=True) as server:
                server.execute(f"DROP DATABASE {database} WITH (FORCE)".encode())
