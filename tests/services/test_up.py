"""`make up` has every service answer, and a database that is gone takes one service away and no other."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psycopg
import pytest
from psycopg import sql

from benchmarks.messaging import answers
from benchmarks.ratios import Samples
from demo import OUTPUT
from demo.browser import Browser, RequestFailed
from demo.tally import Tally
from tests.conftest import ROOT
from tests.races.scene import until

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(600)]

SECONDS = 300.0
SERVICES = (
    *("orders", "catalog", "inventory", "payments", "users"),
    *("gateway", "dashboard", "reference", "recommendations"),
)
SHUT = "ALTER DATABASE {} ALLOW_CONNECTIONS {}"
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"


@contextlib.contextmanager
def started(*options: str) -> Iterator[tuple[dict[str, str], int]]:
    """The URLs that `up` prints, by service, and the shop's; and the process that all others are children of."""
    argv = [sys.executable, "-m", "demo", "up", "--orders", "200", *options]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            found: dict[str, str] = {}
            deadline = time.monotonic() + SECONDS
            assert process.stdout is not None
            for line in process.stdout:
                assert time.monotonic() < deadline
                if named := re.match(r"\s+(\w+)(?: service|, through Envoy)\s+(http://\S+)", line):
                    found[named[1]] = named[2]
                if "stop everything" in line:
                    break
            yield found, process.pid
        finally:
            process.send_signal(signal.SIGINT)
            ended = process.wait(60)
    # Whoever stops it as it says is not told of a failure.
    assert ended == 0


@pytest.fixture
def addresses() -> Iterator[dict[str, str]]:
    """The same, started as `make up` does."""
    with started() as (found, _):
        yield found


def superuser() -> psycopg.Connection[tuple[object, ...]]:
    """The stack's PostgreSQL, as the operator's file says where it is."""
    said = dict(re.findall(r"export (SHOP_DB_\w+)='(.*)'", (OUTPUT / "operator.env").read_text()))
    return psycopg.connect(
        host="127.0.0.1", port=said["SHOP_DB_PORT"], user="postgres", password=said["SHOP_DB_PASSWORD"],
        dbname="postgres", autocommit=True,
    )  # fmt: skip


def products(browser: Browser, gateway: str, way: str = "") -> list[dict[str, object]]:
    """What the gateway says a customer ever ordered."""
    user = browser.get("me", "/api/accounts/me/")["id"]
    found: list[dict[str, object]] = []

    def answered() -> bool:
        with contextlib.suppress(RequestFailed):
            document = browser.get("ordered", f"{gateway}/api/users/{user}/ordered-products/{way}")
            found[:] = document["products"]
            return "_errors" not in document
        return False

    until(answered, "an answer within the gateway's deadline, which a busy machine may miss", 30)
    return found


def test_everything_is_up_and_one_database_less_is_one_service_less(addresses: dict[str, str]) -> None:
    assert addresses.keys() == {"shop", *SERVICES}

    def ready() -> dict[str, int]:
        return {name: httpx2.get(f"{addresses[name]}/readyz", timeout=30).status_code for name in SERVICES}

    assert ready() == dict.fromkeys(SERVICES, 200)
    for name in SERVICES:
        document = httpx2.get(f"{addresses[name]}/api/schema/?format=json", timeout=30).json()
        assert document["openapi"].startswith("3.1"), name
        assert document["paths"], name
    browser = Browser(addresses["shop"], Tally(), "a customer")
    browser.fetch_token()
    account = {
        "email": "up@example.com",
        "password": "a long enough password",
        "first_name": "Up",
        "last_name": "Lovelace",
    }
    browser.write("sign up", "POST", "/api/accounts/signup/", account, expected=201)
    product = browser.get("browse", "/api/products/")["results"][0]["id"]
    # What the shop sells is the monolith's to tell; the service serves, and has none of it yet.
    assert httpx2.get(f"{addresses['catalog']}/api/products/", timeout=30).json()["results"] == []
    wanted = {"lines": [{"product": product, "quantity": 1}], "shipping_address": {}}
    bought_all: list[str] = []
    with superuser() as conn:
        for lost in SERVICES:
            database = sql.Identifier(lost)
            conn.execute(sql.SQL(SHUT).format(database, sql.SQL("false")))
            conn.execute(END, [lost])
            until(lambda lost=lost: ready() == dict.fromkeys(SERVICES, 200) | {lost: 503}, f"{lost} is away", 30)  # type: ignore[misc]
            bought = browser.write("purchase", "POST", "/api/orders/", wanted, expected=201)["id"]
            bought_all.append(bought)
            assert browser.get("order", f"/api/orders/{bought}/")["id"] == bought
            conn.execute(sql.SQL(SHUT).format(database, sql.SQL("true")))
            until(lambda: ready() == dict.fromkeys(SERVICES, 200), f"{lost} is back", 30)
        with psycopg.connect(conn.info.dsn, dbname="shop", password=conn.info.password) as seen:
            # The console has every one of them, whether a playbook names it or not.
            query = "SELECT context FROM strangle_observation WHERE document->'service' ? 'letters' ORDER BY context"
            until(lambda: [row[0] for row in seen.execute(query)] == sorted(SERVICES), "the operator sees each", 60)
        with psycopg.connect(conn.info.dsn, dbname="dashboard", password=conn.info.password) as shown:
            query = "SELECT count(*) FROM order_summary"
            until(lambda: shown.execute(query).fetchone() == (len(SERVICES),), "the dashboard hears of all sales", 30)
            told = shown.execute("SELECT DISTINCT customer_name FROM order_summary").fetchall()
            assert told == [("Up Lovelace",)]
        if shutil.which("redis-server"):
            statuses = {each: f"{addresses['dashboard']}/api/dashboard/orders/{each}/status/" for each in bought_all}
            # Redis is told by a consumer of its own.
            placed = ["placed"] * len(SERVICES)
            until(lambda: [told_of(browser, url) for url in statuses.values()] == placed, "Redis has all", 30)
            browser.write("pay", "POST", f"/api/orders/{bought}/pay/")
            until(lambda: told_of(browser, statuses[bought]) == "paid", "Redis hears of the payment", 30)
        shop, gateway = addresses["shop"], addresses["gateway"]
        known = products(browser, gateway)
        assert [(row["product"], row["quantity"]) for row in known] == [(product, len(SERVICES))]
        assert products(browser, gateway, "projected/") == known
        one_who_was_seeded(shop, gateway)
        with answers.shop_away(conn):
            assert ready() == dict.fromkeys(SERVICES, 200)
        found = Samples()
        asking = [answers.shopper(shop, gateway, number) for number in range(2)]
        answers.answers_round(asking, conn, found, asked=10, purchases=2)
        for each in asking:
            each.close()
    ratios = answers.answers_ratios(found)
    assert (found["projected, whole while away"], found["composed, whole while away"]) == (1.0, 0.0)
    assert all(each.measured > 0 for each in ratios.values())
    browser.close()


def told_of(browser: Browser, url: str) -> str:
    """An order's status by the dashboard; empty before it has heard of it."""
    try:
        return str(browser.get("status", url)["status"])
    except RequestFailed:
        return ""


def one_who_was_seeded(shop: str, gateway: str) -> None:
    """A customer from before all events is told of like others, once the owner has said what there is."""
    browser = Browser(shop, Tally(), "a customer of old")
    browser.fetch_token()
    browser.write("log in", "POST", "/api/accounts/login/", {"email": "shopper1@example.com", "password": "shopper"})
    known = products(browser, gateway)
    assert len(known) > 1
    assert products(browser, gateway, "projected/") == []
    command = ". var/demo/operator.env; exec python manage.py strangle_state_events orders"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    until(lambda: products(browser, gateway, "projected/") == known, "the gateway knows the older orders", 60)
    browser.close()


def child(parent: int, word: str) -> int:
    """The process with a word in its command line that a process has started."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            if f"PPid:\t{parent}\n" in status.read_text() and word in (status.parent / "cmdline").read_text():
                return int(status.parent.name)
    raise AssertionError(f"{parent} has no child {word!r}")


def test_with_an_engine_of_its_own_each_database_that_stops_takes_one_service_away() -> None:
    """MongoDB stops answering, then one of PostgreSQL's databases: the stock, then the payments, and nobody else."""
    names = {"orders", "inventory", "payments"}
    asked = ("--contexts", ",".join(sorted(names)), "--database-mode", "polyglot")
    with started(*asked) as (urls, process), superuser() as conn:
        services = sorted(urls.keys() - {"shop"})
        assert names < set(services)

        def away() -> set[str]:
            return {name for name in services if httpx2.get(f"{urls[name]}/readyz", timeout=60).status_code != 200}

        assert away() == set()
        document = httpx2.get(f"{urls['inventory']}/api/stock/1/", timeout=30)
        assert (document.status_code, document.headers["content-type"]) == (404, "application/problem+json")
        server = child(process, "migration_tools.testing.mongodb")
        os.kill(server, signal.SIGSTOP)
        try:
            until(lambda: away() == {"inventory"}, "the stock is away", 60)
            assert httpx2.get(f"{urls['inventory']}/api/stock/1/", timeout=60).status_code == 503
            assert httpx2.get(f"{urls['shop']}/api/products/", timeout=30).status_code == 200
        finally:
            os.kill(server, signal.SIGCONT)
        until(lambda: away() == set(), "the stock is back", 60)
        for lost in ("payments", "inventory"):
            conn.execute(sql.SQL(SHUT).format(sql.Identifier(lost), sql.SQL("false")))
            conn.execute(END, [lost])
            until(lambda lost=lost: away() == {lost}, f"{lost} is away", 30)  # type: ignore[misc]
            conn.execute(sql.SQL(SHUT).format(sql.Identifier(lost), sql.SQL("true")))
            until(lambda: away() == set(), f"{lost} is back", 30)
