"""The layout of many machines on one: everything twice, RabbitMQ between, PgBouncer in transaction mode before it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from benchmarks.planning import Job, monolith_sessions, service_sessions
from migration_tools.testing.brokers import EmbeddedRabbit
from tests import both_sides
from tests.conftest import ROOT, SERVICE_SETTINGS, SMALL_SHOP, Pair
from tests.integration.proxy_rig import await_until, free_port
from tests.integration.site_rig import MONOLITH, SERVICE, Browser, Gunicorn
from tests.integration.transport_rig import made
from tests.pooler import pgbouncer

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(400)]

POOL = 4
IMPATIENT = {"ORDERS_SOAK_SECONDS": "0", "ORDERS_QUIET_SECONDS": "0.2"}
SMALL = "tests.small_chunks"


class Layout:
    """The processes, as units of a deployment: each can be had once more."""

    def __init__(self, pair: Pair, shared: dict[str, str], log: Path, stack: ExitStack) -> None:
        self.pair, self.shared, self.log, self._stack = pair, shared, log, stack
        self.edges: list[str] = []

    def environment(self, role: str) -> dict[str, str]:
        """Of a process that sees one side's database as `role`, or both as the operator."""
        if role == "operator":
            return {**self.pair.environment(operator=True), **self.shared}
        env = {**self.pair.environment(user=role), **self.shared}
        # Said as empty, since the test's own environment names both databases.
        return env | {"ORDERS_DB_NAME" if role.startswith("shop") else "SHOP_DB_NAME": ""}

    def start(self, role: str, *words: str, **env: str) -> "subprocess.Popen[bytes]":
        out = self._stack.enter_context(self.log.open("ab"))
        child = subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, env=self.environment(role) | env, stdout=out, stderr=out
        )
        self._stack.callback(child.wait, 60)
        self._stack.callback(child.terminate)
        return child

    def edge(self) -> None:
        """One more Envoy with its agent."""
        directory = tempfile.mkdtemp(prefix="sx")
        self._stack.callback(shutil.rmtree, directory, True)
        port = free_port()
        where = ("--listen", f"127.0.0.1:{port}", "--directory", directory)
        self.start("shop_owner", "manage.py", "strangle_proxy", "run", *where)
        self.edges.append(f"http://127.0.0.1:{port}")

    def move(self, command: str, *args: str, **env: str) -> dict[str, Any]:
        """Run a command as the operator; its answer."""
        done = subprocess.run(
            [sys.executable, "manage.py", command, "orders", *args, "--format", "json"],
            cwd=ROOT, env=self.environment("operator") | env, capture_output=True, text=True, check=False, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout, done.stderr[-3000:], self.log.read_text()[-3000:])
        return dict(json.loads(done.stdout))


@contextmanager
def layout(pair: Pair, directory: Path) -> Iterator[Layout]:
    """Two of each, before the first phase."""
    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
    with ExitStack() as stack:
        rabbit = stack.enter_context(made(EmbeddedRabbit))
        pool = stack.enter_context(pgbouncer(pair.cluster, size=POOL))
        direct = f"127.0.0.1:{pair.cluster.port}"
        sides = [Gunicorn(MONOLITH, {}, directory / "log"), Gunicorn(SERVICE, {}, directory / "log")]
        shared = {
            **IMPATIENT,
            "PYTHONPATH": str(ROOT),
            "STRANGLE_TRANSPORT": "kombu",
            "STRANGLE_BROKER_URL": rabbit.url,
            "SHOP_DB_PORT": str(pool),
            "ORDERS_DB_PORT": str(pool),
            "SHOP_DB_DIRECT": direct,
            "ORDERS_DB_DIRECT": direct,
            "MONOLITH_ADDRESS": str(sides[0].address),
            "ORDERS_ADDRESS": str(sides[1].address),
        }
        made_ = Layout(pair, shared, directory / "log", stack)
        for side, role, settings in (
            (sides[0], "shop_app", "legacy_monolith.settings"),
            (sides[1], "orders_app", SERVICE_SETTINGS),
        ):
            side._environment = {**made_.environment(role), "DJANGO_SETTINGS_MODULE": settings}
            stack.callback(side.stop)
            side.start()
        service = ("--settings", SERVICE_SETTINGS)
        for _ in range(2):
            made_.start("shop_owner", "manage.py", "strangle_relay", "orders")
            made_.start("orders_owner", "manage.py", "strangle_relay", "orders", *service)
            made_.start("orders_owner", "manage.py", "strangle_consume", "orders", *service)
            made_.start("shop_owner", "manage.py", "strangle_consume", "orders")
            made_.edge()
        for url in made_.edges:
            await_until(lambda url=url: _alive(url), 90, f"{url} answers")
        yield made_


def _alive(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/livez").status_code == 200
    except httpx2.HTTPError:
        return False


class Shopper(threading.Thread):
    """Places orders through one edge until told to stop, and reads each right after."""

    def __init__(self, url: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.url, self.stop, self.orders, self.failed = url, stop, list[str](), list[str]()

    def run(self) -> None:
        with httpx2.Client(base_url=self.url, timeout=60) as client:
            browser = Browser(client)
            browser.sign_up()
            while not self.stop.wait(0.05):
                try:
                    order = browser.order()
                    self.orders.append(order)
                    if not browser.sees(order):
                        self.failed.append(f"{order} was not seen")
                except (AssertionError, httpx2.HTTPError) as error:
                    self.failed.append(str(error)[:500])


def sessions(pair: Pair) -> dict[str, int]:
    """Sessions of each database by who holds them: the toolkit's own by purpose, all others as one."""
    with pair.connect("shop") as conn:
        rows = conn.execute(
            """SELECT datname || ' ' || CASE WHEN application_name LIKE 'strangle:%%' THEN application_name
                      ELSE usename END, count(*)
               FROM pg_stat_activity WHERE datname = ANY (%s) AND backend_type = 'client backend'
               AND usename <> 'postgres' GROUP BY 1 ORDER BY 1""",
            [[pair.shop, pair.orders]],
        ).fetchall()
    return {name.replace(pair.shop, "shop").replace(pair.orders, "orders"): count for name, count in rows}


def test_a_context_moves_and_comes_back_with_two_of_everything_and_a_pooler_before_every_database(
    pair: Pair, tmp_path: Path
) -> None:
    stop = threading.Event()
    with layout(pair, tmp_path) as site:
        shoppers = [Shopper(url, stop) for url in (*site.edges, *site.edges)]
        try:
            site.move("strangle_dual_write")
            for shopper in shoppers:
                shopper.start()
            broker = site.shared["STRANGLE_BROKER_URL"]
            celery = {"TEST_BACKFILL_RUNNER": "celery", "TEST_BACKFILL_BROKER_URL": broker, "TEST_CHUNK_BYTES": "8000"}
            for _ in range(2):
                site.start(
                    "operator", "-m", "celery", "-A", "migration_tools.transfer.celery_app", "worker", "-n",
                    f"{os.urandom(4).hex()}@%h", "-P", "solo", "-Q", "strangle", "-l", "WARNING", "--without-gossip",
                    "--without-mingle", DJANGO_SETTINGS_MODULE=SMALL, **celery,
                )  # fmt: skip
            site.move("strangle_backfill", "--settings", SMALL, **celery)
            site.move("strangle_verify")
            site.move("strangle_switch_reads", "--percent", "100")
            held = sessions(pair)
            forward = site.move("strangle_cutover")["evidence"]
            back = site.move("strangle_rollback")["evidence"]
        finally:
            stop.set()
            for shopper in shoppers:
                if shopper.ident is not None:
                    shopper.join(90)
        assert [each["proxies"] for each in (forward, back)] == [2, 2]
        assert [failure for shopper in shoppers for failure in shopper.failed] == []
        placed = [order for shopper in shoppers for order in shopper.orders]
        assert len(placed) == len(set(placed)) > 20
        with pair.connect("orders") as orders, pair.connect("shop") as shop:
            there = "SELECT count(*) FROM orders_order WHERE public_id::text = ANY (%s)"
            found = shop.execute(there, [placed]).fetchone()
            await_until(lambda: both_sides.differences(shop, orders) == [], 30, "both sides agree")
        assert found == (len(placed),)
        # Web processes share the pool: so many sessions a role and database, however many of them there are.
        assert held.get("shop shop_app", 0) <= POOL
        assert held.get("orders orders_app", 0) <= POOL
        assert not any("strangle" in name and "relay" in name and count > 2 for name, count in held.items()), held
        # What the plan of a large migration counts on, and not far beyond what there is.
        job = Job(rows=0, services=1, writes_per_second=0.0, workers=2, relays=2, consumers=2, pool=POOL)
        for side, most in (("shop", monolith_sessions(job)), ("orders", service_sessions(job))):
            there = sum(count for name, count in held.items() if name.startswith(f"{side} "))
            assert most / 3 <= there <= most, (side, most, held)
        print(json.dumps({"sessions": held, "pause_ms": [each["pause_ms"] for each in (forward, back)]}))
