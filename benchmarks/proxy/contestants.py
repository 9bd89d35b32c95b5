"""The proxies side by side: each started with one worker, pinned to one core, in front of the same upstream."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.machine import cpu_seconds
from benchmarks.proxy import configurations
from migration_tools.testing.postgres import free_port
from proxy.agent import Agent
from proxy.options import Address, ProxyOptions
from proxy.process import find_envoy

OURS, BARE, NGINX, HAPROXY, ASGI = "Envoy as configured", "bare Envoy", "nginx", "HAProxy", "Python ASGI proxy"
START_SECONDS = 20.0
#: What to install for each row that may be left out.
INSTALL = {
    NGINX: "apt-get install nginx-light",
    HAPROXY: "apt-get install haproxy",
    ASGI: "pip install aiohttp granian (or uvicorn)",
}


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A running proxy: where it listens and the process whose tree does the work."""

    name: str
    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """What the process and all below it have used."""
        return cpu_seconds(self.pid)


def cores() -> tuple[int, int]:
    """The core of the proxy, and that of its neighbours; one and the same where there is but one."""
    found = sorted(os.sched_getaffinity(0))
    return found[0], found[-1]


@contextmanager
def upstream(directory: Path) -> Iterator[int]:
    """The port of what answers every request with 200 bytes."""
    port = free_port()
    with _process(_envoy(directory / "upstream.json", configurations.answering_envoy(port)), port, cores()[1]):
        yield port


@contextmanager
def contestants(directory: Path, answering: int) -> Iterator[dict[str, Contestant]]:
    """All proxies that this machine has, by name."""
    with ExitStack() as stack:
        found: dict[str, Contestant] = {}
        port = free_port()
        bare = _envoy(directory / "bare.json", configurations.bare_envoy(port, answering))
        found[BARE] = Contestant(name=BARE, port=port, pid=stack.enter_context(_process(bare, port, cores()[0])))
        found[OURS] = stack.enter_context(_ours(directory / "ours", answering))
        for name, port, command, environment in _others(directory, answering):
            pid = stack.enter_context(_process(command, port, cores()[0], environment))
            found[name] = Contestant(name=name, port=port, pid=pid)
        yield found


def _others(directory: Path, answering: int) -> Iterator[tuple[str, int, list[str], dict[str, str]]]:
    """Those that need not be installed: name, port, command, environment."""
    port = free_port()
    if (nginx := _program("nginx")) is not None:
        (directory / "nginx.conf").write_text(configurations.nginx(port, answering, directory))
        yield NGINX, port, [nginx, "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")], {}
    port = free_port()
    if (haproxy := _program("haproxy")) is not None:
        (directory / "haproxy.cfg").write_text(configurations.haproxy(port, answering))
        yield HAPROXY, port, [haproxy, "-db", "-f", str(directory / "haproxy.cfg")], {}
    port = free_port()
    server = next((name for name in ("granian", "uvicorn") if importlib.util.find_spec(name)), None)
    if server is not None and importlib.util.find_spec("aiohttp"):
        place = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error", "benchmarks.proxy.asgi:app"]
        options = ["--interface", "asgi", "--workers", "1"] if server == "granian" else ["--no-access-log"]
        yield ASGI, port, [sys.executable, "-m", server, *options, *place], {"UPSTREAM": f"127.0.0.1:{answering}"}


@contextmanager
def _ours(directory: Path, answering: int) -> Iterator[Contestant]:
    """Our Envoy under its real agent, which reads a table of several contexts."""
    address = Address(host="127.0.0.1", port=answering)
    options = ProxyOptions(
        directory=directory,
        listen=Address(host="127.0.0.1", port=free_port()),
        upstreams={"monolith": (address,), "service": (address,)},
    )
    agent = Agent(options, configurations.our_table)
    thread = threading.Thread(target=agent.run, daemon=True)
    thread.start()
    try:
        _await_answer(agent)
        for each in psutil.Process(agent.envoy.pid).threads():
            os.sched_setaffinity(each.id, {cores()[0]})
        yield Contestant(name=OURS, port=options.listen.port, pid=agent.envoy.pid)
    finally:
        agent.stop()
        thread.join()


def _envoy(config: Path, content: object) -> list[str]:
    config.write_text(json.dumps(content))
    return [str(find_envoy()), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


@contextmanager
def _process(command: list[str], port: int, core: int, environment: dict[str, str] | None = None) -> Iterator[int]:
    """Run a command on one core until the block ends; yields its process id once it listens."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    try:
        _await_port(port, process)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_answer(agent: Agent) -> None:
    deadline = time.monotonic() + START_SECONDS
    while agent.state.applied_version is None:
        if time.monotonic() > deadline:
            raise RuntimeError(f"our Envoy does not answer after {START_SECONDS:g} s: {agent.state.note}")
        time.sleep(0.01)


def _await_port(port: int, process: "subprocess.Popen[bytes] | None" = None) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with exit status {process.returncode} before it listened")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise RuntimeError(f"nobody listens on port {port} after {START_SECONDS:g} s")
        time.sleep(0.01)
