"""An operator killed with SIGKILL while a live proxy holds writes: the customer waits for the next command's end."""

import http.client
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from migration_tools.routing import publishing
from migration_tools.state.journal import phase_of
from tests.integration.proxy_rig import Upstream, await_until
from tests.integration.test_phases import Road, road
from tests.integration.test_proxy_command import Start, directory, port, side, sides, start
from tests.operators import killed, owners

__all__ = ["directory", "port", "road", "sides", "start"]


def post(port: int) -> str:
    """The side that acknowledged one write."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/api/orders/", body=b"held")
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        return "new" if b'"side": "new"' in answer.read() else "old"
    finally:
        connection.close()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("phase", "command", "afterwards", "owner"),
    [
        ("switch_reads", "strangle_cutover", "strangle_cutover", "new"),
        ("switch_reads", "strangle_cutover", "strangle_rollback", "old"),
        ("cutover", "strangle_rollback", "strangle_rollback", "old"),
    ],
)
def test_writes_held_by_a_killed_operator_reach_the_owner_once(
    road: Road,
    start: Start,
    sides: tuple[Upstream, Upstream],
    port: int,
    directory: Path,
    phase: str,
    command: str,
    afterwards: str,
    owner: str,
) -> None:
    start()
    road.walk_to(phase)
    await_until(lambda: side(port) == "new" and publishing.live_proxies(), 30, "the proxy answers by the table")
    killed(road.pair, command, "handover.held")
    assert publishing.current().contexts["orders"].writes == "hold"
    with ThreadPoolExecutor(1) as customers:
        waiting: Future[str] = customers.submit(post, port)
        threading.Event().wait(0.3)
        assert not waiting.done(), "the write is held"
        road.run(afterwards)
        assert waiting.result(30) == owner
    assert [len(each.writes) for each in sides] == ([0, 1] if owner == "new" else [1, 0])
    assert publishing.current().contexts["orders"].writes == owner
    assert owners(road.pair) == ["target" if owner == "new" else "source"]
    assert phase_of("orders") == ("cutover" if owner == "new" else "switch_reads")
    assert road.settled() == []
