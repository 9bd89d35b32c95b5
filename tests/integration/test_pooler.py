"""Behind PgBouncer: web processes work in transaction mode, who needs a session refuses and says how to have one."""

import logging
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connections, transaction
from django.test import Client, override_settings

from migration_tools.checks import check_poolers
from migration_tools.conf import find_mistakes
from migration_tools.errors import StrangleError
from migration_tools.kernel.locks import LockClass
from migration_tools.messaging.consumer import Consumer
from migration_tools.messaging.outbox import publish
from migration_tools.messaging.relay import Relay
from migration_tools.stores.postgres import advisory, connect, is_pooled
from migration_tools.stores.postgres import transaction as own
from migration_tools.stores.postgres.connection import PINNED
from migration_tools.testing.poolers import EmbeddedPgBouncer
from migration_tools.testing.postgres import free_port
from migration_tools.transfer.sync import TableWriter
from tests.conftest import ROOT, Pair
from tests.integration.proxy_rig import await_until
from tests.integration.transport_rig import made
from tests.pooler import pgbouncer
from tests.stage import DirectFeed, Stage

Tools = dict[str, Any]


def tools(**more: Any) -> Tools:
    from django.conf import settings

    return {**settings.MIGRATION_TOOLS, **more}


@contextmanager
def behind(port: int, *aliases: str) -> Iterator[None]:
    """Let Django reach these databases at another port, as DATABASES would say it."""
    before = {alias: connections[alias].settings_dict["PORT"] for alias in aliases}
    for alias in aliases:
        connections[alias].close()
        connections[alias].settings_dict["PORT"] = str(port)
    try:
        yield
    finally:
        for alias, old in before.items():
            connections[alias].close()
            connections[alias].settings_dict["PORT"] = old


@pytest.fixture(params=[1, 5], ids=["one session", "five sessions"])
def pooled(request: pytest.FixtureRequest, pair: Pair) -> Iterator[int]:
    with pgbouncer(pair.cluster, size=request.param) as port:
        yield port


def test_who_needs_a_session_refuses_transaction_mode_and_goes_past_it(
    pooled: int, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    direct = {"default": {"PORT": str(pair.cluster.port)}}
    with behind(pooled, "default"):
        with pytest.raises(StrangleError, match=r"'default' is behind a pooler in transaction mode.*'DIRECT'"):
            connect("default", "relay orders")
        relay, stop = Relay("orders", _Nothing()), threading.Event()
        with caplog.at_level(logging.WARNING):
            caplog.handler.emit = lambda record: stop.set()  # type: ignore[method-assign]
            relay.run(stop)
        found = check_poolers(None, databases=["default"])
        assert [(each.id, "DIRECT" in (each.hint or "")) for each in found] == [("strangle.W170", True)]
        consumer = Consumer("orders", DirectFeed("orders", "orders"), TableWriter(), using="default")
        with pytest.raises(StrangleError, match="transaction mode"):
            consumer._lead()
        with override_settings(MIGRATION_TOOLS=tools(DIRECT=direct)):
            assert check_poolers(None, databases=["default"]) == []
            with connect("default", "relay orders") as conn:
                assert conn.info.port == pair.cluster.port
            out = StringIO()
            call_command("strangle_relay", "orders", "--once", "--format", "json", stdout=out)
            assert '"exit_code": 0' in out.getvalue()
        assert connections["default"].settings_dict["PORT"] == str(pooled)


class _Nothing:
    def awaits(self, stream: str) -> bool:
        return False


def test_in_session_mode_a_session_is_kept_and_pinned(pair: Pair) -> None:
    with pgbouncer(pair.cluster, mode="session", size=3) as port, behind(port, "default"):
        with connect("default", "relay orders") as conn, connect("default", "relay orders") as other:
            shown = {name: conn.execute(f"SHOW {name}").fetchone() for name in PINNED}
            assert {name: row[0] for name, row in shown.items() if row} == PINNED
            assert advisory.try_hold(conn, LockClass.RELAY, "orders")
            assert not advisory.try_hold(other, LockClass.RELAY, "orders")
        consumer = Consumer("orders", DirectFeed("orders", "orders"), TableWriter(), using="default")
        assert consumer._lead()


def test_a_pool_of_one_session_in_session_mode_is_not_taken_for_sharing(pair: Pair) -> None:
    with (
        pgbouncer(pair.cluster, mode="session", size=1) as port,
        behind(port, "default"),
        connect("default", "relay orders") as conn,
    ):
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_a_direct_connection_is_not_taken_for_a_pooled_one(pair: Pair) -> None:
    with connect("default", "relay orders") as conn:
        assert not is_pooled(conn)
        with own(conn):
            assert not is_pooled(conn)


def test_web_processes_write_capture_and_serve_the_feed_in_transaction_mode(stage: Stage) -> None:
    """Events, captured rows and the feed's long poll, with every transaction on whatever session is free."""
    with pgbouncer(stage.pair.cluster, size=2) as port, behind(port, "default"):
        for number in range(20):
            with transaction.atomic(), connections["default"].cursor() as cursor:
                publish(
                    "order.paid", aggregate_type="order", aggregate_id=number, payload=PAID | {"order_id": number},
                    stream="orders",
                )  # fmt: skip
                cursor.execute("UPDATE orders_order SET note = %s WHERE id = %s", [f"pooled {number}", number + 1])
        with behind(stage.pair.cluster.port, "default"):
            head = stage.tick()
        tokens = {"orders": "the-token-of-a-pooled-test"}
        with override_settings(MIGRATION_TOOLS=tools(FEED_TOKENS=tokens)):
            served: Any = Client().get(
                "/strangle/feed/orders/?after=0&limit=1000&wait=5&follow=0.2",
                headers={"Authorization": f"Bearer {tokens['orders']}"},
            )
            lines = b"".join(served.streaming_content).splitlines() if served.streaming else [served.content]
        assert served.status_code == 200
        assert b"order.paid" in lines[0]
        with stage.pair.connect("shop") as conn:
            listening = conn.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'LISTEN' AND datname = current_database() "
                "AND pid <> pg_backend_pid()"
            ).fetchone()
        assert (head > 20, listening) == (True, (0,))
    stage.consume()
    assert stage.orders.execute("SELECT count(*) FROM sales_order WHERE remark ~ '^pooled'").fetchone() == (20,)


PAID: dict[str, Any] = {"public_id": "01890a5d-ac96-774b-bcce-b302099a8057", "amount": "1.00"}


@pytest.mark.parametrize(
    ("direct", "says"),
    [
        ([], "it must be a dict"),
        ({"nowhere": {"PORT": 1}}, "not in DATABASES"),
        ({"default": {}}, "must be a dict with some of"),
        ({"default": {"SSL": 1}}, "must be a dict with some of HOST, NAME, PASSWORD, PORT, USER"),
    ],
)
def test_a_mistake_in_direct_is_said(direct: Any, says: str) -> None:
    assert any(says in each for each in find_mistakes({"DIRECT": direct}))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_pooler_of_the_compose_file_shares_sessions_lets_web_roles_in_and_nobody_else(pair: Pair) -> None:
    """`deploy/compose/pgbouncer.sh` as the container runs it, before this server."""
    made(lambda: EmbeddedPgBouncer(pair.cluster.port, {})).destroy()
    port, here = free_port(), f"127.0.0.1:{pair.cluster.port}"
    nobody = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="sx") as directory:
        if nobody:
            shutil.chown(directory, *nobody.values())
        environment = {
            "PATH": os.environ["PATH"], "PGBOUNCER_DIRECTORY": f"{directory}/pool", "PGBOUNCER_PORT": str(port),
            "PGBOUNCER_ADDRESS": "127.0.0.1", "PGBOUNCER_POOL": "1",
            "SHOP_DB_NAME": pair.shop, "SHOP_DB_DIRECT": here, "SHOP_DB_PASSWORD": pair.cluster.password,
            "ORDERS_DB_NAME": pair.orders, "ORDERS_DB_DIRECT": here, "ORDERS_DB_PASSWORD": pair.cluster.password,
        }  # fmt: skip
        script = ["sh", str(ROOT / "deploy" / "compose" / "pgbouncer.sh"), "-q"]
        process = subprocess.Popen(script, env=environment, **nobody)  # type: ignore[call-overload]

        def open_as(role: str, database: str) -> "psycopg.Connection[Any]":
            dsn = pair.cluster.dsn(database, role).replace(f"port={pair.cluster.port}", f"port={port}")
            return psycopg.connect(dsn, autocommit=True)

        try:
            await_until(lambda: process.poll() is not None or _listens(port), 20, "PgBouncer listens")
            with open_as("shop_app", pair.shop) as one, open_as("shop_app", pair.shop) as other:
                served = {conn.execute("SELECT pg_backend_pid()").fetchone() for conn in (one, other)}
                assert len(served) == 1, "transactions share a session"
            with open_as("orders_app", pair.orders) as service:
                assert service.execute("SELECT current_user::text").fetchone() == ("orders_app",)
            with pytest.raises(psycopg.OperationalError):
                open_as("shop_owner", pair.shop)
        finally:
            process.terminate()
            process.wait(10)
