"""PostgreSQL itself keeps a side out of the other's database, and an app role away from schema and fence."""

import subprocess

import psycopg
import pytest
from psycopg import errors

from migration_tools.testing.postgres import EmbeddedPostgres
from tests.examples.orders_service import RunningService

pytest_plugins = ["tests.examples.orders_service"]


@pytest.mark.parametrize("user", ["app", "owner"])
@pytest.mark.parametrize(("side", "other"), [("orders", "shop"), ("shop", "orders")])
def test_a_side_cannot_connect_to_the_database_of_the_other(
    cluster: EmbeddedPostgres, side: str, other: str, user: str
) -> None:
    with psycopg.connect(cluster.dsn(side, f"{side}_{user}")) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == (side,)
    with pytest.raises(psycopg.OperationalError, match=f'permission denied for database "{other}"'):
        psycopg.connect(cluster.dsn(other, f"{side}_{user}"))


def test_the_service_pointed_at_the_shops_database_is_refused(orders_service: RunningService) -> None:
    done: subprocess.CompletedProcess[str] = orders_service.manage(
        "shell", "-v0", "-c", "from django.db import connection; connection.ensure_connection()",
        ORDERS_DB_NAME="shop", ORDERS_DB_USER="orders_app",
    )  # fmt: skip
    assert done.returncode != 0
    assert 'permission denied for database "shop"' in done.stderr


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE TABLE sales_own (id int)",
        "ALTER TABLE sales_order ADD COLUMN extra int",
        "ALTER TABLE sales_order DISABLE TRIGGER ALL",
        "DROP TABLE sales_dailycount",
        "TRUNCATE sales_order CASCADE",
        "CREATE INDEX ON sales_order (currency)",
        "SET session_replication_role = replica",
    ],
)
def test_the_app_role_may_not_change_the_schema(orders_service: RunningService, ddl: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        orders_service.rows(ddl, user="orders_app")


@pytest.mark.parametrize(
    "write",
    [
        "INSERT INTO strangle_ownership SELECT * FROM strangle_ownership",
        "UPDATE strangle_ownership SET context = context",
        "DELETE FROM strangle_ownership",
        "TRUNCATE strangle_ownership",
        "DELETE FROM strangle_outbox",
        "UPDATE strangle_inbox SET position = 0",
    ],
)
def test_the_app_role_may_decide_neither_who_owns_a_context_nor_what_happened(
    orders_service: RunningService, write: str
) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        orders_service.rows(write, user="orders_app")


def test_the_app_role_may_read_and_write_rows(orders_service: RunningService) -> None:
    assert orders_service.rows(
        "INSERT INTO sales_dailycount VALUES ('1999-12-31', 0) RETURNING placed", user="orders_app"
    ) == [(0,)]
    orders_service.rows("DELETE FROM sales_dailycount WHERE day = '1999-12-31'", user="orders_app")
