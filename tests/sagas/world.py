"""Three services on three databases in one process: real relays' ticks, real consumers, the runner, moved by hand."""

import contextlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
from django.conf import settings as django_settings
from django.db import connections, transaction
from django.test import override_settings
from psycopg import sql

from migration_tools.capture.projector import RelationProjector
from migration_tools.messaging.consumer import Consumer
from migration_tools.messaging.relay import tick
from migration_tools.sagas.choreography import originate
from migration_tools.sagas.definition import LocalStep, Saga
from migration_tools.sagas.orchestrator import start
from migration_tools.sagas.runner import Runner
from migration_tools.stores.postgres import Connection, connect
from tests.conftest import Cluster, recreate
from tests.sagas import services, tables
from tests.sagas.tables import ACCOUNT, SERVICES, STREAMS, TABLES
from tests.stage import DirectFeed

TURNS = 60


class World:
    """The three services; `conns` are independent connections to look with."""

    def __init__(self, cluster: Cluster, names: dict[str, str]):
        self.cluster = cluster
        self.names = names
        self.conns = {name: psycopg.connect(cluster.dsn(base), autocommit=True) for name, base in names.items()}
        self._consumers: dict[tuple[str, str], Consumer] = {}
        self._relays: dict[str, Connection] = {}

    def alias(self, service: str) -> str:
        """The Django database of a service."""
        return f"saga_{service}"

    @contextmanager
    def being(self, service: str) -> Iterator[str]:
        """Run the block as that service's process would."""
        tools = {**django_settings.MIGRATION_TOOLS, "DATABASE": self.alias(service), "SIDE": service}
        with override_settings(MIGRATION_TOOLS=tools):
            yield self.alias(service)

    def one(self, service: str, query: str, *params: Any) -> Any:
        """The first column of the first row, read by a connection of the test's own; None if there is no row."""
        row = self.conns[service].execute(query, params).fetchone()
        return None if row is None else row[0]

    # Customers.

    def stock(self, on_hand: int = 10) -> str:
        """A fresh article."""
        sku = uuid.uuid4().hex
        self.conns["inventory"].execute("INSERT INTO shop_stock VALUES (%s, %s)", [sku, on_hand])
        return sku

    def account(self, service: str, balance: int, *, is_open: bool = True) -> str:
        """A fresh account with a bank."""
        name = uuid.uuid4().hex
        self.conns[service].execute("INSERT INTO shop_account VALUES (%s, %s, %s)", [name, balance, is_open])
        return name

    def buy(self, kind: str, *, sku: str, customer: str, quantity: int = 2, amount: int = 30) -> str:
        """Begin an order, orchestrated or choreographed, in one transaction of the orders service."""
        payload = {"sku": sku, "customer": customer, "quantity": quantity, "amount": amount}
        made = uuid.uuid4()
        with self.being("orders") as alias, transaction.atomic(using=alias):
            if kind == "orchestrated":
                return start(services.SHOP_ORDER, payload, aggregate=("order", made), saga_id=made)
            tables.create(LocalStep(saga_id=str(made), saga="", step="create", payload=payload, using=alias))
            originate(services.CREATED, saga_id=made, payload=payload, aggregate_type="order")
            return str(made)

    def begin(self, saga: Saga, payload: dict[str, Any]) -> str:
        """Begin a saga of the orders service."""
        with self.being("orders") as alias, transaction.atomic(using=alias):
            return start(saga, payload)

    # What the processes would do.

    def number(self, service: str) -> None:
        """One tick of a service's relay."""
        with self.being(service) as alias:
            if service not in self._relays:
                self._relays[service] = connect(alias, "test relay")
            tick(self._relays[service], STREAMS[service], RelationProjector())

    def consume(self, service: str, stream_of: str, *, batches: int = 100) -> None:
        """Let a service's consumer of another's stream apply what is numbered."""
        with self.being(service) as alias:
            key = (service, stream_of)
            if key not in self._consumers:
                feed = DirectFeed(self.alias(stream_of), stream_of, STREAMS[stream_of])
                self._consumers[key] = Consumer(STREAMS[stream_of], feed, None, using=alias, group=service)
            at = -1
            for _ in range(batches):
                if at == (at := self._consumers[key].step(0)):
                    return

    def run_due(self) -> int:
        """One look of the runner."""
        with self.being("orders") as alias:
            return Runner(using=alias).step()

    def expire(self, saga_id: str) -> None:
        """Let the clock run out: the saga's wait is over now."""
        self.conns["orders"].execute("UPDATE saga_state SET wake_at = now() WHERE saga_id = %s", [saga_id])

    def settle(self, *, late: bool = True, until: Callable[[], bool] = lambda: False) -> None:
        """Move everything until nothing changes; with `late`, pauses between attempts are over at once."""
        before: list[Any] = []
        for _ in range(TURNS):
            for service in SERVICES:
                self.number(service)
            for service in SERVICES:
                for other in SERVICES:
                    if other != service:
                        self.consume(service, other)
            at_rest = before == (before := self._positions())
            if until() or (at_rest and not (late and self._hasten())):
                return
            self.run_due()
        raise AssertionError("the world does not come to rest")

    def _hasten(self) -> bool:
        done = self.conns["orders"].execute(
            """UPDATE saga_state SET wake_at = now() WHERE status IN ('running', 'compensating')
               AND wake_at < now() + interval '3 s'"""
        )
        return bool(done.rowcount)

    def _positions(self) -> list[Any]:
        query = """SELECT (SELECT count(*) FROM strangle_outbox), (SELECT count(*) FROM saga_log),
                          (SELECT sum(position) FROM strangle_inbox)"""
        return [self.conns[service].execute(query).fetchone() for service in SERVICES]

    # What became of it.

    def state(self, order: str) -> str:
        """The order's state."""
        return str(self.one("orders", "SELECT state FROM shop_order WHERE id = %s", order))

    def status(self, saga_id: str) -> str:
        """The saga's status."""
        return str(self.one("orders", "SELECT status FROM saga_state WHERE saga_id = %s", saga_id))

    def shelf(self, sku: str) -> tuple[int, int]:
        """(on hand, reserved) of an article."""
        row = self.conns["inventory"].execute("SELECT on_hand, reserved FROM shop_stock WHERE sku = %s", [sku])
        return row.fetchone()  # type: ignore[return-value]

    def balance(self, service: str, name: str) -> int:
        """What is in an account."""
        return int(self.one(service, "SELECT balance FROM shop_account WHERE name = %s", name))

    def steps(self, saga_id: str) -> tuple[list[str], list[str]]:
        """(completed, compensated) of a saga, as its row says."""
        row = self.conns["orders"].execute(
            "SELECT steps_completed::text, steps_compensated::text FROM saga_state WHERE saga_id = %s", [saga_id]
        )
        completed, compensated = row.fetchone() or ("[]", "[]")
        return json.loads(completed), json.loads(compensated)

    def close(self) -> None:
        for consumer in self._consumers.values():
            consumer.feed.close()  # type: ignore[attr-defined]
        for conn in (*self.conns.values(), *self._relays.values()):
            conn.close()


@contextmanager
def opened(cluster: Cluster, template: str, blocker: Any) -> Iterator[World]:
    """Three databases cloned from a migrated template, known to Django as saga_orders and so on."""
    suffix = f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.urandom(3).hex()}"
    names = {service: f"saga_{service}_{suffix}" for service in SERVICES}
    with ExitStack() as stack:
        for service, name in names.items():
            recreate(cluster, name, owner="orders_owner", template=template)
            stack.callback(_drop, cluster, name)
            with psycopg.connect(cluster.dsn(name), autocommit=True) as conn:
                for statement in filter(None, (TABLES[service], ACCOUNT)):
                    conn.execute(statement)
                conn.execute("INSERT INTO shop_account VALUES ('shop', 0)")
            connections.settings[f"saga_{service}"] = {
                **connections["default"].settings_dict,
                "NAME": name,
                "PORT": str(cluster.port),
                "PASSWORD": cluster.password,
                "ATOMIC_REQUESTS": False,
            }
            stack.callback(connections.settings.pop, f"saga_{service}")
        stack.enter_context(blocker.unblock())
        world = World(cluster, names)
        stack.callback(_forget)
        stack.callback(world.close)
        yield world


def _forget() -> None:
    for service in SERVICES:
        alias = f"saga_{service}"
        with contextlib.suppress(AttributeError):
            connections[alias].close()
            delattr(connections._connections, alias)  # type: ignore[attr-defined]


def _drop(cluster: Cluster, name: str) -> None:
    with psycopg.connect(cluster.dsn(), autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
