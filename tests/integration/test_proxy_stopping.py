"""Stopping takes a bounded time: beside replaced Envoys, with a database that hangs, after a long SIGSTOP."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from migration_tools.routing import publishing
from migration_tools.routing.table import RoutingTable, ensure_context
from proxy import control
from proxy.agent import Agent
from proxy.process import STOP_SECONDS
from tests.integration.proxy_rig import await_until, rig
from tests.integration.test_proxy_command import Start, directory, port, side, sides, start
from tests.integration.test_proxy_takeover import alive

__all__ = ["directory", "port", "sides", "start"]


# So many that a machine which pauses for seconds still ends them sooner than it could one after the other.
REPLACED = 3


def test_several_replaced_envoys_are_ended_together() -> None:
    """One after the other they took five seconds each, since one that was replaced does not heed SIGTERM."""
    with rig(takeover_seconds=60.0) as proxy:
        pids = [proxy.agent.envoy.pid]
        for _ in range(REPLACED):
            proxy.agent.replace_envoy()
            await_until(lambda: proxy.agent.envoy.pid != pids[-1])
            pids.append(proxy.agent.envoy.pid)
        began = time.monotonic()
        proxy.stop()
        assert time.monotonic() - began < REPLACED * STOP_SECONDS - 2
        await_until(lambda: not [pid for pid in pids if alive(pid)])


@pytest.mark.thorough
def test_an_agent_whose_database_hangs_still_stops(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(control, "STOP_SECONDS", 0.5)
    answers, hung = threading.Event(), threading.Event()
    with rig() as proxy:
        proxy.stop()

        def source() -> RoutingTable:
            if agent.state.applied_version is not None:
                hung.set()
                answers.wait(60)
            return proxy.table

        agent = Agent(proxy.options, source)

        def operator() -> None:
            hung.wait(20)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=operator).start()
        began = time.monotonic()
        control.run_until_signalled(agent)
        assert time.monotonic() - began < 15
        await_until(lambda: not alive(agent.envoy.pid))
        assert "in source" in capfd.readouterr().err, "where it hangs is told"
        answers.set()


@pytest.mark.thorough
def test_an_agent_that_was_stopped_by_sigstop_ends_soon_after_sigcont(start: Start, directory: Path, port: int) -> None:
    publishing.publish(
        lambda table: ensure_context(table, "orders", ["/api/orders/"], "orders"), author="t", reason="t"
    )
    agent: subprocess.Popen[bytes] = start()
    await_until(publishing.live_proxies, 30)
    os.kill(agent.pid, signal.SIGSTOP)
    try:
        await_until(publishing.silent_proxies, 20, "its silence is noticed")
        publishing.set_reads("orders", 100)
        agent.terminate()
    finally:
        began = time.monotonic()
        os.kill(agent.pid, signal.SIGCONT)
    assert agent.wait(30) == 0
    assert time.monotonic() - began < 10
    assert side(port) is None
    assert publishing.silent_proxies() == [], "it said goodbye"
