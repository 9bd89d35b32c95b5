"""Moves and commands on other data planes: what is refused, what is allowed by name, what is confirmed."""

import http.client
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from migration_tools.conf import settings as strangle_settings
from migration_tools.errors import SettingsError
from migration_tools.routing import publishing
from tests.conftest import ROOT, Pair
from tests.integration.plane_rig import binary, nginx_command
from tests.integration.proxy_rig import Upstream, await_until, free_port
from tests.integration.test_phases import Road, road
from tests.integration.test_proxy_command import sides
from tests.integration.test_route_command import orders, refused, route

pytestmark = pytest.mark.thorough

__all__ = ["road", "sides"]


@pytest.fixture
def on_plane(settings: Any, sides: tuple[Upstream, Upstream]) -> Callable[..., None]:
    def put(plane: str, **proxy: str) -> None:
        upstreams = {"monolith": str(sides[0].address), "orders": str(sides[1].address)}
        more = {"DATA_PLANE": plane, "UPSTREAMS": upstreams, "PROXY": proxy}
        settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, **more}

    return put


def test_an_unknown_data_plane_is_a_mistake(settings: Any) -> None:
    settings.MIGRATION_TOOLS = {"DATA_PLANE": "apache"}
    with pytest.raises(SettingsError, match="must be one of"):
        strangle_settings()


def test_moves_ask_what_the_data_plane_can_do(
    road: Road, on_plane: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    on_plane("gateway-api")
    road.walk_to("switch_reads")
    for args in (["--percent", "25"], ["--steps", "5,100"]):
        error = road.refused("strangle_switch_reads", *args)
        assert (error.returncode, "for every request anew" in str(error)) == (4, True)
    road.run("strangle_switch_reads", "--percent", "25", "--allow-unsticky")
    error = road.refused("strangle_switch_reads", "--percent", "30")
    assert (error.returncode, "for every request anew" in str(error)) == (4, True)
    assert "does not count what readers get" in str(
        road.refused("strangle_switch_reads", "--steps", "50,100", "--allow-unsticky")
    )
    assert "for every request anew" in str(refused("set", "orders", "reads=30%"))
    assert "cannot shadow reads" in str(refused("set", "orders", "shadow=5%"))
    assert "no rules by cookie" in str(refused("rule", "orders", "new", "--cohort", "staff"))
    route("set", "orders", "reads=30%", "--allow-unsticky")
    route("kill", "orders")
    assert orders().reads_percent == 0
    road.run("strangle_switch_reads", "--percent", "100")

    for plane, lacks in (
        ("gateway-api", "cannot hold writes"),
        ("own-envoy", "nobody who says that a hold is in force"),
        ("haproxy", "has not been heard of (start strangle_route follow)"),
        ("nginx", "cannot hold writes"),
    ):
        on_plane(plane)
        error = road.refused("strangle_cutover")
        assert (error.returncode, lacks in str(error), "--allow-refused-writes" in str(error)) == (4, True, True)
    assert orders().writes == "old"
    assert route("doctor") == {"findings": []}, "nginx never reports"
    call_command("strangle_cutover", "orders", "--allow-refused-writes")
    assert (orders().writes, road.stage.differences()) == ("new", [])
    said = capsys.readouterr().err
    assert f"put routing version {publishing.current_version()} in force now" in said
    assert "the fence of the source answers writes with 503" in said
    road.run("strangle_rollback")
    assert orders().writes == "old", "a way back is never refused"


@contextmanager
def followed_haproxy(pair: Pair, sides: tuple[Upstream, Upstream], directory: Path, port: int) -> Iterator[None]:
    """HAProxy on what the command renders, and the command that follows, as an operator starts them."""
    environment = pair.environment() | {
        "MONOLITH_ADDRESS": str(sides[0].address),
        "ORDERS_ADDRESS": str(sides[1].address),
    }
    server = subprocess.Popen(
        [binary("haproxy"), "-db", "-q", "-f", str(directory / "haproxy.cfg")], stderr=subprocess.DEVNULL
    )
    code = f"from django.conf import settings as s; s.MIGRATION_TOOLS['PROXY'] = {{'LISTEN': '127.0.0.1:{port}'}}; "
    code += "from django.core.management import call_command as c; "
    code += f"c('strangle_route', 'follow', '--directory', {str(directory)!r})"
    follower = subprocess.Popen(
        [sys.executable, "-c", f"import django; django.setup(); {code}"],
        cwd=ROOT,
        env=environment | {"DJANGO_SETTINGS_MODULE": "legacy_monolith.settings"},
    )
    try:
        await_until(lambda: publishing.live_proxies(), what="the follower reports")
        yield
    finally:
        follower.terminate()
        assert follower.wait(20) == 0
        server.terminate()
        server.wait(20)


def test_a_followed_haproxy_holds_the_writes_of_a_hand_over(
    road: Road, pair: Pair, on_plane: Callable[..., None], sides: tuple[Upstream, Upstream]
) -> None:
    directory, port = Path(tempfile.mkdtemp(prefix="sx")), free_port()
    on_plane("haproxy", LISTEN=f"127.0.0.1:{port}")
    road.walk_to("switch_reads")
    road.run("strangle_switch_reads", "--percent", "100")
    assert route("render", "--target", "haproxy", "--directory", str(directory))["changed"]
    stop, statuses = threading.Event(), []

    def customer() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while not stop.is_set():
            connection.request("POST", "/api/orders/", body=b"x" * 500)
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        connection.close()

    try:
        with followed_haproxy(pair, sides, directory, port):
            shopper = threading.Thread(target=customer)
            shopper.start()
            try:
                for side, command in ((1, "strangle_cutover"), (0, "strangle_rollback")):
                    evidence = road.run(command)["evidence"]
                    assert evidence["proxies"] == 1
                    taken = len(sides[side].writes)
                    await_until(lambda side=side, taken=taken: len(sides[side].writes) > taken + 3)
            finally:
                stop.set()
                shopper.join()
        assert set(statuses) == {200}
        assert len(sides[0].writes) + len(sides[1].writes) == len(statuses)
        assert "has not been heard of" in "".join(publishing.silent_proxies(0)), "HAProxy goes on without it"
    finally:
        shutil.rmtree(directory)


def test_the_table_is_rendered_by_the_command(road: Road, on_plane: Callable[..., None]) -> None:
    on_plane("envoy", LISTEN="127.0.0.1:8081")
    road.walk_to("dual_write")
    directory = tempfile.mkdtemp(prefix="sx")
    try:
        for target, name in (
            ("haproxy", "haproxy.cfg"),
            ("nginx", "strangler.conf"),
            ("gateway-api", "httproutes.json"),
            ("envoy", "static.json"),
        ):
            printed = route("render", "--target", target)
            assert (printed["version"], name in printed["files"]) == (publishing.current_version(), True)
            first = route("render", "--target", target, "--directory", f"{directory}/{target}")
            again = route("render", "--target", target, "--directory", f"{directory}/{target}")
            assert (name in first["changed"], again["changed"]) == (True, [])
        subprocess.run([*nginx_command(f"{directory}/nginx"), "-t"], check=True, capture_output=True)
        check_envoy(Path(directory) / "envoy" / "static.json")
    finally:
        shutil.rmtree(directory)
    assert route("render", "--capabilities")["nginx"]["hold"] is False
    assert "name a data plane" in str(refused("render"))
    with pytest.raises(CommandError):
        call_command("strangle_route", "render", "--target", "own-envoy")


def check_envoy(static: Path) -> None:
    """Let the real Envoy judge the rendered file."""
    from proxy.process import find_envoy

    command = [str(find_envoy("")), "--mode", "validate", "--disable-hot-restart", "-l", "error", "-c", str(static)]
    assert json.loads(static.read_text())["static_resources"]["clusters"]
    subprocess.run(command, check=True, capture_output=True)
