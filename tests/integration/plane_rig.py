"""Real HAProxy and nginx on free ports in directories of their own, and random routing tables for them."""

import http.client
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from migration_tools.routing.planes import haproxy, nginx
from migration_tools.routing.planes.haproxy_follower import Follower
from migration_tools.routing.planes.haproxy_runtime import Runtime
from migration_tools.routing.planes.target import Endpoint, Target
from migration_tools.routing.planes.writing import write_files
from migration_tools.routing.rules import READING
from migration_tools.routing.table import RoutingTable, ensure_context
from tests.integration.proxy_rig import Answer, Upstream, await_until, free_port

SAFE = "abcXYZ019"
PATH_TEXT = st.text(SAFE + "._~!$&'()*+,=:@-", min_size=1, max_size=12).filter(lambda s: s not in (".", ".."))
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True)
VALUES = st.from_regex(r"[A-Za-z0-9_.:@/+=-]{1,128}", fullmatch=True) | st.sampled_from(
    ["-i", "-f", "--", "-m", "default", "include", "hostnames", "volatile", "=", "//"]
)
HEADERS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,63}", fullmatch=True)
COOKIES = st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True)


def binary(name: str) -> str:
    """A server's program. Where it is missing: a failure in CI, which installs it; elsewhere a skip."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if not found:
        assert os.environ.get("CI") != "true", f"{name} is missing"
        pytest.skip(f"no {name} (.ci/run installs it)")
    return found


@st.composite
def documents(draw: Any, *, cookies: bool = True, shares: bool = True, one_side: bool = False) -> dict[str, Any]:
    """A table's document as its validation accepts it, with everything that is odd and allowed."""
    contexts: dict[str, Any] = {}
    taken: set[str] = set()
    for name in draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)):
        paths = [
            f"/{'/'.join(parts)}" for parts in draw(st.lists(st.lists(PATH_TEXT, min_size=1, max_size=3), max_size=3))
        ]
        paths = [path for path in dict.fromkeys([*paths, f"/{name}"]) if path not in taken]
        taken |= set(paths)
        side = draw(st.sampled_from(["old", "new"]))
        rules = [
            {
                "side": side if one_side else draw(st.sampled_from(["old", "new"])),
                "methods": draw(st.lists(st.sampled_from(READING), unique=True)),
                "path": f"{paths[0]}/{draw(PATH_TEXT)}" if paths and draw(st.booleans()) else "",
                "headers": draw(st.dictionaries(HEADERS, VALUES, max_size=2)),
                "cookies": draw(st.dictionaries(COOKIES, VALUES, max_size=2)) if cookies else {},
                "cohort": draw(st.just("") | VALUES) if cookies else "",
            }
            for _ in range(draw(st.integers(0, 2)))
        ]
        percents = st.sampled_from([0, 100]) | (st.floats(0, 100) if shares else st.nothing())
        contexts[name] = {
            "paths": paths or [f"/{name}_{len(taken)}"],
            "service": "orders",
            "reads_percent": draw(percents),
            "rules": [rule for rule in rules if any(value for key, value in rule.items() if key != "side")],
            "writes": draw(st.sampled_from(["old", "new"])),
            "write_timeout_seconds": draw(st.floats(46, 1e12)),
            "read_timeout_seconds": draw(st.floats(0.001, 1e12)),
        }
    return {"contexts": contexts}


def target_in(directory: str, port: int = 21_999, **upstreams: str) -> Target:
    """A target whose upstreams nobody need listen at."""
    return Target(
        directory=directory,
        listen=Endpoint(host="127.0.0.1", port=port),
        upstreams={
            "monolith": (Endpoint(host="127.0.0.1", port=21_998),),
            "orders": (Endpoint(host="127.0.0.1", port=21_997), Endpoint(host="localhost", port=21_997)),
        },
    )


@dataclass
class Plane:
    """A data plane in front of two upstreams that remember what they were sent."""

    old: Upstream
    new: Upstream
    target: Target
    table: RoutingTable
    process: "subprocess.Popen[bytes] | None" = None
    said: dict[str, Any] = field(default_factory=dict)

    def change(self, change: Callable[[RoutingTable], RoutingTable]) -> None:
        """Make a changed table the current one."""
        self.table = replace(change(self.table), version=self.table.version + 1)

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.target.listen.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            found = [(key.lower(), value) for key, value in response.getheaders()]
            return Answer(status=response.status, headers=found, body=response.read())
        finally:
            connection.close()

    def side_of(self, key: str) -> str:
        return self.ask("GET", "/api/orders/", {"Cookie": f"a=b; sx_bucket={key}; c=d"}).side

    def target_socket(self) -> Path:
        return Path(self.target.file(haproxy.SOCKET))

    def answers(self) -> bool:
        try:
            return self.ask("GET", "/.strangler/version").status == 200
        except OSError:
            return False

    def marker(self) -> str:
        return self.ask("GET", "/.strangler/version").body.decode()


@contextmanager
def plane() -> Iterator[Plane]:
    """Both upstreams and a table with one context, orders, still wholly on the old side; no server yet."""
    old, new = Upstream("old"), Upstream("new")
    directory = tempfile.mkdtemp(prefix="sx")
    made = Plane(
        old=old,
        new=new,
        target=Target(
            directory=directory,
            listen=Endpoint(host="127.0.0.1", port=free_port()),
            upstreams={
                name: (Endpoint(host=up.address.host, port=up.address.port),)
                for name, up in (("monolith", old), ("orders", new))
            },
        ),
        table=ensure_context(RoutingTable(version=1), "orders", ["/api/orders/"], "orders"),
    )
    try:
        yield made
    finally:
        if made.process is not None:
            made.process.terminate()
            made.process.wait(20)
        old.close()
        new.close()
        shutil.rmtree(directory)


def start_haproxy(made: Plane) -> None:
    """Run HAProxy on the rendered files, master and worker, so that a reload is a signal."""
    write_files(made.target.directory, haproxy.render(made.table, made.target).files)
    command = [binary("haproxy"), "-W", "-q", "-f", made.target.file(haproxy.CONFIGURATION)]
    made.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    await_until(made.answers, what="HAProxy answers")


def worker(made: Plane) -> str:
    """The process number of HAProxy's worker that has the runtime socket; empty when there is none."""
    try:
        return Runtime(made.target_socket()).process()
    except OSError:
        return ""


def reload_haproxy(made: Plane) -> None:
    """Let HAProxy read its files again, and wait for the new worker."""
    before, sent = worker(made), float("-inf")

    def another() -> bool:
        nonlocal sent
        # A master that has just begun ignores the signal.
        if time.monotonic() - sent > 0.5:
            assert made.process is not None
            made.process.send_signal(signal.SIGUSR2)
            sent = time.monotonic()
        return worker(made) not in ("", before)

    await_until(another, what="another worker")


def reload_nginx(made: Plane) -> None:
    """Let nginx read its files again, and wait until the workers that read the old ones are gone."""
    write_files(made.target.directory, nginx.render(made.table, made.target))
    assert made.process is not None
    before = workers(made.process.pid)
    made.process.send_signal(signal.SIGHUP)
    await_until(lambda: workers(made.process.pid) - before == workers(made.process.pid) != set(), what="new workers")


def workers(master: int) -> set[str]:
    """The processes that a process has started."""
    return set(Path(f"/proc/{master}/task/{master}/children").read_text().split())


@contextmanager
def following(made: Plane) -> Iterator[Follower]:
    """A follower of HAProxy beside this thread; what it reports is in `made.said`."""
    follower = Follower(
        target=made.target, source=lambda: made.table, report=made.said.update, binary=binary("haproxy")
    )
    thread = threading.Thread(target=follower.run, daemon=True)
    thread.start()
    try:
        await_until(lambda: made.said.get("applied_version") == made.table.version, what="the first table")
        yield follower
    finally:
        follower.stop.set()
        thread.join(20)
        assert not thread.is_alive()


def await_applied(made: Plane) -> None:
    await_until(lambda: made.said.get("applied_version") == made.table.version, what=f"confirmed: {made.said}")


def start_nginx(made: Plane) -> None:
    """Run nginx in the foreground on the rendered files."""
    write_files(made.target.directory, nginx.render(made.table, made.target))
    made.process = subprocess.Popen(
        [*nginx_command(made.target.directory), "-g", "daemon off;"], stderr=subprocess.DEVNULL
    )
    await_until(made.answers, what="nginx answers")


def nginx_command(directory: str) -> list[str]:
    return [
        binary("nginx"),
        "-p",
        directory,
        "-e",
        str(Path(directory) / "error.log"),
        "-c",
        f"{directory}/{nginx.MAIN}",
    ]
