"""The demo's traffic against the real monolith: what it acknowledges is there, what goes wrong is told."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from demo import ledger
from demo.audit import audit_names, audit_owner, merge, settled
from demo.book import fold
from demo.browser import Browser, RequestFailed
from demo.consequences import audit_payments
from demo.processes import Supervisor, choose_ports
from demo.tally import Tally
from demo.traffic import Traffic
from tests.conftest import Pair

ENOUGH_WRITES = 40
SECONDS = 60.0


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    with Supervisor(tmp_path / "playground") as made:
        yield made
    made.dismiss_watchdog()


@pytest.fixture
def monolith(pair: Pair, supervisor: Supervisor) -> str:
    """The monolith under gunicorn, as its own app role, with seeded orders."""
    seeded = pair.manage("shop_seed", "--orders", "300", "--seed", "5")
    assert seeded.returncode == 0, seeded.stderr
    (port,) = choose_ports(1)
    environment = pair.environment(user="shop_app")
    del environment["ORDERS_DB_NAME"]
    argv = [
        sys.executable,
        "-m",
        "gunicorn",
        "legacy_monolith.wsgi:application",
        "--bind",
        f"127.0.0.1:{port}",
    ]
    argv += ["--worker-class", "gthread", "--threads", "8", "--keep-alive", "75", "--log-level", "warning"]
    child = supervisor.start("monolith", argv, environment)
    supervisor.await_http(child, f"http://127.0.0.1:{port}/livez")
    return f"http://127.0.0.1:{port}"


def test_everything_acknowledged_is_in_the_shop(
    monolith: str, pair: Pair, supervisor: Supervisor, tmp_path: Path
) -> None:
    path, dsn = tmp_path / "ledger.jsonl", pair.cluster.dsn(pair.shop)
    legacy = pair.cluster.dsn(pair.shop, "shop_app")
    with Traffic(url=monolith, ledger=path, seed=3, rate=60, shop_dsn=legacy) as traffic:
        with traffic.probing():
            supervisor.await_condition("writes", lambda: len(traffic.clock) > ENOUGH_WRITES, SECONDS)
        supervisor.await_condition(
            "writers behind HTTP's back",
            lambda: traffic.tally.events("bulk updater: edit") > 2 and traffic.tally.events("raw-SQL writer: edit") > 2,
            SECONDS,
        )
    assert traffic.tally.failures == []
    book = fold(ledger.read(path))
    assert len(book.kept) > 5
    findings = settled(
        lambda: merge(audit_owner(book, "monolith", dsn), audit_names(book, dsn), audit_payments(book, dsn)),
        0.0,
    )
    assert findings.clean, findings
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE orders_order SET status = 'lost' WHERE public_id = %s", [book.kept[0].order])
        connection.commit()
    assert len(audit_owner(book, "monolith", dsn).lost) == 1


def test_an_answer_other_than_expected_is_a_failure_with_its_details(monolith: str) -> None:
    tally = Tally()
    browser = Browser(monolith, tally, "ana")
    with pytest.raises(RequestFailed):
        browser.get("orders", "/api/orders/")
    browser.close()
    (failure,) = tally.failures
    assert (failure.who, failure.request, failure.status) == ("ana", "GET /api/orders/", 403)
    assert "detail" in failure.detail


def test_a_shop_that_does_not_answer_is_a_failure_too(tmp_path: Path) -> None:
    (port,) = choose_ports(1)
    with Traffic(url=f"http://127.0.0.1:{port}", ledger=tmp_path / "ledger.jsonl", rate=50) as traffic:
        pause = threading.Event()
        while not traffic.tally.failed:
            pause.wait(0.02)
    assert all(failure.status is None for failure in traffic.tally.failures)
    assert "ConnectError" in traffic.tally.failures[0].detail
    assert fold(ledger.read(tmp_path / "ledger.jsonl")).kept == []
