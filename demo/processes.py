"""The supervisor: starts processes with a log each, awaits their readiness, and leaves none behind."""

from __future__ import annotations

import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from demo import ROOT, watchdog

READY_SECONDS = 60.0
STOP_SECONDS = 8.0
TAIL_LINES = 25
PORTS = (20_000, 32_000)
"""Below the range the kernel gives to outgoing connections: one found free stays free until bound."""


class ProcessDied(Exception):
    """A process of the stack ended by itself; the message carries the end of its log."""


class NotReady(Exception):
    """A condition was not met in time; the message says which, and shows the log."""


@dataclass(frozen=True, kw_only=True)
class Child:
    """A running process of the stack, leader of its own process group."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def tail(self) -> str:
        return tail(self.log)


class Supervisor:
    """Owns every process of the stack; closing it, or the death of this interpreter, ends them all."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.logs = directory / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self._children: list[Child] = []
        self._pause = threading.Event()
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", "-S", watchdog.__file__],
            stdin=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        self._tell(f"directory {directory}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, name: str, argv: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start ``argv`` at the root of the checkout, its output going to ``logs/<name>.log``."""
        log = self.logs / f"{name.replace(' ', '-')}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                list(argv),
                cwd=ROOT,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        child = Child(name=name, process=process, log=log)
        self._tell(f"group {process.pid}")
        self._children.append(child)
        return child

    def check(self) -> None:
        """Raise ``ProcessDied`` if any process ended by itself."""
        for child in self._children:
            code = child.process.poll()
            if code is not None:
                raise ProcessDied(f"{child.name} died (exit code {code}); the end of its log:\n{child.tail()}")

    def run(self, name: str, argv: Sequence[str], environment: Mapping[str, str], seconds: float) -> str:
        """Run ``argv`` to its end while the stack is watched; give its standard output.

        Raises:
            CommandFailed: It ended with a code other than 0.
        """
        code, output, errors = self.call(argv, environment, seconds)
        if code:
            raise NotReady(f"{name} failed (exit code {code}):\n{(errors or output)[-3000:]}")
        return output

    def call(self, argv: Sequence[str], environment: Mapping[str, str], seconds: float) -> tuple[int, str, str]:
        """Run ``argv`` to its end while the stack is watched; give exit code, output and errors."""
        with subprocess.Popen(
            list(argv),
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        ) as process:
            self._tell(f"group {process.pid}")
            try:
                return self._communicate(process, seconds)
            finally:
                watchdog.end_groups({process.pid}, grace=1.0) if process.poll() is None else None
                self._tell(f"gone {process.pid}")

    def _communicate(self, process: subprocess.Popen[str], seconds: float) -> tuple[int, str, str]:
        deadline = time.monotonic() + seconds
        while True:
            try:
                output, errors = process.communicate(timeout=0.1)
            except subprocess.TimeoutExpired:
                self.check()
                if time.monotonic() > deadline:
                    args = process.args
                    said = shlex.join(map(str, args)) if isinstance(args, list | tuple) else str(args)
                    raise NotReady(f"did not end in {seconds:.0f} s, as on a machine too busy: {said}") from None
            else:
                return process.returncode, output, errors

    def await_condition(self, what: str, met: Callable[[], bool], seconds: float = READY_SECONDS) -> None:
        """Return as soon as ``met``; fail at once when a process dies, and after ``seconds``."""
        deadline = time.monotonic() + seconds
        while not met():
            self.check()
            if time.monotonic() > deadline:
                raise NotReady(f"{what} was not reached in {seconds:.0f} s")
            self._pause.wait(0.05)

    def await_http(self, child: Child, url: str, seconds: float = READY_SECONDS) -> None:
        """Wait until ``url`` answers 200."""
        try:
            self.await_condition(f"200 from {url}", lambda: answers(url), seconds)
        except NotReady as error:
            raise NotReady(f"{child.name}: {error}; the end of its log:\n{child.tail()}") from None

    def stop(self, child: Child) -> None:
        """End one process and its group."""
        self._children.remove(child)
        self._end([child])

    def close(self) -> None:
        """End every process, the youngest first; all of them get the signal before any is waited for."""
        children, self._children = self._children[::-1], []
        self._end(children)

    def dismiss_watchdog(self) -> None:
        """Say that everything was put away (call when the directory is gone, or is to be kept)."""
        self._tell("done")
        if self._watchdog.stdin is not None:
            self._watchdog.stdin.close()
        self._watchdog.wait(STOP_SECONDS)

    def _end(self, children: Sequence[Child]) -> None:
        for child in children:
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for child in children:
            try:
                child.process.wait(max(deadline - time.monotonic(), 0.05))
            except subprocess.TimeoutExpired:
                pass
            finally:
                watchdog.end_groups({child.process.pid}, grace=0.0)
                child.process.wait()
                self._tell(f"gone {child.process.pid}")

    def _tell(self, line: str) -> None:
        assert self._watchdog.stdin is not None  # noqa: S101
        try:
            self._watchdog.stdin.write(line + "\n")
            self._watchdog.stdin.flush()
        except BrokenPipeError:
            return


def answers(url: str) -> bool:
    """Tell whether ``url`` answers 200 now."""
    try:
        with urllib.request.urlopen(url, timeout=2.0) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Give the last lines of a log."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:]) or "(empty)"


def choose_ports(count: int) -> list[int]:
    """Find ``count`` free ports of 127.0.0.1."""
    chosen: list[int] = []
    dice = random.SystemRandom()
    while len(chosen) < count:
        port = dice.randrange(*PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in chosen:
            chosen.append(port)
    return chosen


def plain_environment() -> dict[str, str]:
    """This process's environment without what would steer the stack by accident."""
    contexts = ("ORDERS_", "CATALOG_", "INVENTORY_", "PAYMENTS_", "USERS_")
    sides = ("SHOP_", "MONOLITH_", *contexts, "GATEWAY_", "DASHBOARD_", "REFERENCE_", "RECOMMENDATIONS_", "SERVICES_")
    steering = (*sides, "STRANGLE_", "FEED_", "DJANGO_", "GUNICORN_", "PG")
    return {name: value for name, value in os.environ.items() if not name.startswith(steering)}
