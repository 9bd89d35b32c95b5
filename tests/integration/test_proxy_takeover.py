"""Another Envoy takes the place of the first while customers ask: no request fails, and held writes still arrive."""

import http.client
import os
import select
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from migration_tools.errors import RoutingError
from migration_tools.routing import publishing
from migration_tools.routing.table import ensure_context, with_reads, with_writes
from tests.integration.proxy_rig import Rig, await_until, rig
from tests.integration.test_proxy_command import Start, directory, port, side, sides, start

__all__ = ["directory", "port", "sides", "start"]

# What the first has begun must end in this time, also where the machine pauses.
TAKEOVER_SECONDS = 4.0


@contextmanager
def customers(proxy: Rig) -> Iterator[list[str]]:
    """Some keep their connection, some make a new one for each request; yields what went wrong."""
    stop, wrong = threading.Event(), []
    listen = proxy.options.listen

    def ask(method: str, keep: bool) -> None:
        connection = http.client.HTTPConnection(listen.host, listen.port, timeout=20)
        while not stop.is_set():
            if ended(connection):
                connection.close()
            try:
                connection.request(method, "/api/orders/", body=b"x" if method == "POST" else None)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    wrong.append(f"{method}: {answer.status}")
            except (OSError, http.client.HTTPException) as error:
                wrong.append(f"{method}: {error!r}")
                connection.close()
            if not keep:
                connection.close()
        connection.close()

    threads = [threading.Thread(target=ask, args=(m, k)) for m in ("GET", "POST") for k in (True, False)]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def ended(connection: http.client.HTTPConnection) -> bool:
    """Whether the other end has closed a connection while nothing was asked; no client asks over such a one."""
    return connection.sock is not None and bool(select.select([connection.sock], [], [], 0)[0])


def test_no_request_fails_while_another_envoy_takes_over() -> None:
    with rig(takeover_seconds=TAKEOVER_SECONDS) as proxy:
        proxy.publish(lambda table: with_reads(table, "orders", 50))
        pids = [proxy.agent.envoy.pid]
        with customers(proxy) as wrong:
            for _ in range(3):
                proxy.agent.replace_envoy()
                await_until(lambda: proxy.agent.envoy.pid != pids[-1], what="the second serves")
                pids.append(proxy.agent.envoy.pid)
                await_until(lambda: not alive(pids[-2]), what="the first has ended")
                proxy.publish(lambda table: with_reads(table, "orders", table.contexts["orders"].reads_percent + 1))
        assert wrong == []
        assert len(set(pids)) == 4
        assert proxy.agent.envoy.restarts == 0


def test_a_write_held_across_the_takeover_arrives_once() -> None:
    with rig(takeover_seconds=20.0) as proxy:
        proxy.publish(lambda table: with_writes(table, "orders", "hold", now="1"))
        before = proxy.agent.envoy.pid
        answers: list[str] = []
        waiting = threading.Thread(target=lambda: answers.append(proxy.ask("POST", "/api/orders/", body=b"held").side))
        waiting.start()
        await_until(
            lambda: proxy.agent.envoy.admin.stats("upstream_rq_retry$").get("cluster.orders_write.upstream_rq_retry")
        )
        proxy.agent.replace_envoy()
        await_until(lambda: proxy.agent.envoy.pid != before)
        proxy.offer(lambda table: with_writes(table, "orders", "new"))
        waiting.join(20)
        assert answers == ["new"]
        assert [len(each.writes) for each in (proxy.old, proxy.new)] == [0, 1]


def test_a_second_envoy_that_cannot_start_leaves_the_first_serving() -> None:
    with rig() as proxy:
        before, config = proxy.agent.envoy.pid, proxy.options.directory / "envoy.json"
        good = config.read_bytes()
        config.write_text('{"no_such_field": 1}')
        with pytest.raises(RoutingError, match="the first serves on"):
            proxy.agent.envoy.replace()
        config.write_bytes(good)
        assert proxy.agent.envoy.pid == before
        assert proxy.ask("GET", "/api/orders/").side == "old"


def test_an_agent_with_other_start_options_puts_another_envoy_in_place() -> None:
    with rig(takeover_seconds=TAKEOVER_SECONDS) as proxy:
        before = proxy.agent.envoy.pid
        with customers(proxy) as wrong:
            envoy = proxy.agent.envoy
            envoy.stop = envoy._stopping.set  # type: ignore[method-assign]  # a killed agent leaves its Envoy running
            proxy.stop()
            proxy.options = replace(proxy.options, concurrency=2)
            proxy.start()
            await_until(lambda: proxy.agent.envoy.pid != before and not alive(before))
        assert wrong == []


def test_sighup_puts_another_envoy_in_place(start: Start, directory: Path, port: int) -> None:
    publishing.publish(
        lambda table: ensure_context(table, "orders", ["/api/orders/"], "orders"), author="t", reason="t"
    )
    agent: subprocess.Popen[bytes] = start()
    await_until(lambda: side(port) == "old", 30)
    before = (directory / "envoy.pid").read_text()
    os.kill(agent.pid, signal.SIGHUP)
    await_until(lambda: (directory / "envoy.pid").read_text() not in ("", before), 30)
    await_until(lambda: side(port) == "old")
    assert agent.poll() is None


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
