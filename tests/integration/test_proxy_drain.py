"""A cutover under an open WebSocket that writes: the fence refuses it aloud, and a drain brings it to the new side."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO

import psycopg
import pytest
from django.core.management import call_command

from migration_tools.routing import publishing
from tests.conftest import Pair
from tests.integration.proxy_rig import await_until
from tests.integration.test_phases import Road, road
from tests.integration.test_proxy_streaming import Streamer, ended, until, upgrade
from tests.integration.test_two_proxies import Proxy, running

__all__ = ["road"]


class Writer(Streamer):
    """A side whose socket writes each frame into the first order, and says what the database said."""

    def __init__(self, side: bytes, pair: Pair, database: str, statement: str) -> None:
        super().__init__(side)
        self.conn = pair.connect(database, f"{database}_app")
        self.statement = statement

    def answer(self, frame: bytes) -> bytes:
        try:
            self.conn.execute(self.statement, [frame.decode()])
        except psycopg.errors.OperationalError as error:
            return b"refused: " + str(error.diag.message_primary).encode() + b"."
        return b"written " + frame

    def close(self) -> None:
        self.conn.close()
        super().close()


@contextmanager
def opened(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as sock:
        sock.sendall(upgrade(b"/api/orders/socket"))
        assert b"101" in until(sock, b"\r\n\r\n")
        yield sock


def say(sock: socket.socket, frame: bytes) -> bytes:
    sock.sendall(frame + b".")
    return until(sock, b".")


@pytest.fixture
def proxy(road: Road) -> Iterator[Proxy]:
    """A context whose reads the service answers, with sockets that write on both sides."""
    old = Writer(b"old", road.pair, "shop", "UPDATE orders_order SET note = %s WHERE id = 1")
    new = Writer(b"new", road.pair, "orders", "UPDATE sales_order SET remark = %s WHERE id = 1")
    with running(road.pair, (old, new)) as made:  # type: ignore[arg-type]  # they have addresses, which is all it asks
        road.walk_to("switch_reads")
        version = publishing.current().version
        await_until(lambda: [row.applied_version for row in publishing.live_proxies()] == [version], 40)
        yield made
    old.close()
    new.close()


def note(road: Road) -> str:
    return str(road.stage.shop.execute("SELECT note FROM orders_order WHERE id = 1").fetchone()[0])  # type: ignore[index]


@pytest.mark.thorough
def test_a_write_over_an_old_socket_is_refused_and_after_the_drain_the_client_writes_on_the_new_side(
    road: Road, proxy: Proxy
) -> None:
    with opened(proxy) as sock:
        assert say(sock, b"before") == b"old:written before."
        assert note(road) == "before."
        await_until(lambda: "(now 1) alone" in str(road.run("strangle_cutover", "--dry-run")["plan"]))
        road.run("strangle_cutover")
        refusal = say(sock, b"after")
        assert refusal.startswith(b"old:refused"), "not lost in silence: whoever wrote is told"
        assert b"not owned here" in refusal
        assert note(road) == "before."
        out = StringIO()
        call_command("strangle_route", "drain", "orders", "--format", "json", stdout=out)
        done = json.loads(out.getvalue())
        assert (done["side"], done["streams_before"], done["streams_left"]) == ("old", 1, 0)
        assert ended(sock)
    with opened(proxy) as again:
        assert say(again, b"on the service") == b"new:written on the service."
    await_until(lambda: note(road) == "on the service.", what="it is carried back")

    # Back again, this time without a single refusal: the socket is cut while writes are held.
    with opened(proxy) as sock:
        assert say(sock, b"last of the new") == b"new:written last of the new."
        await_until(lambda: note(road) == "last of the new.")
    road.run("strangle_rollback")
    road.run("strangle_verify")
    with opened(proxy) as sock:
        assert say(sock, b"old again") == b"old:written old again."
        await_until(lambda: any(row.streams for row in publishing.live_proxies()))
        done = road.run("strangle_cutover", "--drain-seconds", "10")
        assert done["evidence"]["pause_ms"] < 10_000
        assert ended(sock)
    with opened(proxy) as sock:
        assert say(sock, b"the service's") == b"new:written the service's."
    assert road.settled() == []
