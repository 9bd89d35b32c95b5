"""A database with the tables of replication as this process's default, and events that arrive in any order."""

import datetime as dt
import itertools
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handling import handle
from migration_tools.replication.declaration import copies
from tests.conftest import Cluster
from tests.examples.served import Served, in_process, provisioned

_positions = itertools.count(1)


@pytest.fixture(scope="module")
def keeper(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that keeps data of others."""
    with provisioned(cluster, "gateway", tmp_path_factory.mktemp("keeper") / "log") as made:
        yield made


@pytest.fixture
def kept(keeper: Served, cluster: Cluster, django_db_blocker: Any) -> Iterator[Served]:
    """Its database, emptied, under this process's default alias."""
    tables = keeper.rows("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'"
                         " AND tablename ~ '^strangle_(copied|poll|command)'")  # fmt: skip
    keeper.rows(f"TRUNCATE {', '.join(name for (name,) in tables)}")
    declared = dict(copies)
    with in_process(keeper, cluster, django_db_blocker):
        yield keeper
    copies.clear()
    copies.update(declared)


def event(event_type: str, payload: dict[str, Any], stream: str = "users") -> Envelope:
    """An event as the consumer gives it to handlers."""
    return Envelope(
        event_id=uuid.uuid4(), aggregate_id=str(payload.get("customer_id")), aggregate_type="customer",
        event_type=event_type, event_version=1, timestamp=dt.datetime.now(dt.UTC), correlation_id=None,
        causation_id=None, payload=payload, stream=stream, origin="users", position=next(_positions),
    )  # fmt: skip


def deliver(*events: Envelope) -> None:
    """Handle events as the consumer does: in its transaction."""
    with transaction.atomic():
        for each in events:
            handle(each)


def rows(query: str, *args: Any) -> list[tuple[Any, ...]]:
    """Run one statement on the default alias."""
    with connection.cursor() as cursor:
        cursor.execute(query, args or None)
        return list(cursor.fetchall()) if cursor.description else []
