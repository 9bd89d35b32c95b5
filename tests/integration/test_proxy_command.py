"""The proxy as an operator runs it: one command over the table in the monolith's database."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from migration_tools.routing import publishing
from migration_tools.routing.publishing import RoutingNotConfirmed
from migration_tools.routing.table import ContextRoute, ensure_context, with_context
from tests.conftest import ROOT, Pair
from tests.integration.proxy_rig import Upstream, await_until, free_port

Start = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="sx"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def sides() -> Iterator[tuple[Upstream, Upstream]]:
    old, new = Upstream("old"), Upstream("new")
    yield old, new
    old.close()
    new.close()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def start(pair: Pair, directory: Path, sides: tuple[Upstream, Upstream], port: int) -> Iterator[Start]:
    env = pair.environment() | {
        "MONOLITH_ADDRESS": str(sides[0].address),
        "ORDERS_ADDRESS": str(sides[1].address),
    }
    started: list[subprocess.Popen[bytes]] = []

    def begin() -> subprocess.Popen[bytes]:
        command = [sys.executable, "manage.py", "strangle_proxy", "run"]
        command += ["--listen", f"127.0.0.1:{port}", "--directory", str(directory)]
        started.append(subprocess.Popen(command, cwd=ROOT, env=env))
        return started[-1]

    yield begin
    for process in started:
        process.terminate()
        process.wait(20)


def side(port: int) -> str | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/api/orders/")
        return str(json.loads(connection.getresponse().read())["side"])
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def test_the_table_in_the_database_is_what_clients_are_answered_by(start: Start, directory: Path, port: int) -> None:
    publishing.publish(
        lambda table: ensure_context(table, "orders", ["/api/orders/"], "orders"), author="t", reason="t"
    )
    agent = start()
    await_until(lambda: side(port) == "old" and publishing.live_proxies(), 30)

    moved = publishing.set_reads("orders", 100)
    assert [row.applied_version for row in publishing.wait_applied(moved.version)] == [moved.version]
    assert side(port) == "new"

    typo = ContextRoute(paths=("/billing",), service="biling")
    wrong = publishing.publish(lambda table: with_context(table, "billing", typo), author="t", reason="t")
    with pytest.raises(RoutingNotConfirmed, match=r"refused it: billing\.service is the upstream 'biling'"):
        publishing.wait_applied(wrong.version)
    assert side(port) == "new"
    back = publishing.rollback()
    assert publishing.wait_applied(back.version)

    envoy = json.loads((directory / "envoy.pid").read_text())["pid"]
    os.kill(agent.pid, signal.SIGKILL)
    agent.wait()
    assert side(port) == "new", "envoy outlives a killed agent"
    again = start()
    home = publishing.set_reads("orders", 0)
    await_until(lambda: side(port) == "old", 30)
    assert publishing.wait_applied(home.version)
    assert json.loads((directory / "envoy.pid").read_text())["pid"] == envoy, "it was adopted, not replaced"

    again.terminate()
    assert again.wait(20) == 0
    assert side(port) is None
    assert not (directory / "envoy.pid").exists()
