"""Keep one HAProxy answering by the current table: files first, then its maps, then the report that it does.

Note [a flip that a reload keeps]. The runtime socket changes HAProxy's memory only, so the files are replaced first: a
reload at any moment reads the newest. What the socket cannot change (paths, rules, upstreams, limits) is the
structure; `state.map` holds its digest as it was when HAProxy was started, and as long as that is not the table's the
version counts as refused: somebody must reload. A hold counts as applied when the held side has no write open any
more, since HAProxy cannot send a write again that meets the fence.
"""

import logging
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from migration_tools.errors import RoutingError
from migration_tools.routing.planes import haproxy
from migration_tools.routing.planes.haproxy import CONFIGURATION, READS, STATE, WRITES, HAProxyFiles
from migration_tools.routing.planes.haproxy_runtime import Runtime
from migration_tools.routing.planes.target import Target
from migration_tools.routing.planes.writing import write_files
from migration_tools.routing.table import InvalidTable, RoutingTable, released

HEARTBEAT_SECONDS = 1.0
POLL_SECONDS = 0.05
HOLD_POLL_SECONDS = 0.005
CHECK_SECONDS = 30.0

logger = logging.getLogger(__name__)

Values = Mapping[str, str | int | None]


class NotYet(RoutingError):
    """HAProxy does not answer by the table yet; it is asked again."""


@dataclass
class Follower:
    """Steps until `stop` is set.

    Args:
        source: reads the current table; any exception means "not now".
        report: told about every change and once a second; exceptions are logged and it is told again.
        binary: an haproxy to check configurations with before they replace a good one; empty: whatever PATH has.
    """

    target: Target
    source: Callable[[], RoutingTable]
    report: Callable[[Values], None]
    socket: Path | None = None
    binary: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    _said: dict[str, str | int | None] = field(default_factory=dict)
    _told: tuple[float, dict[str, str | int | None]] = (float("-inf"), {})
    _holds: dict[tuple[str, str | None], float] = field(default_factory=dict)
    _settled: object = None
    _settled_at: float = float("-inf")
    _refused: object = None
    _held: bool = False
    _checked: str = ""

    def __post_init__(self) -> None:
        self._runtime = Runtime(self.socket or Path(self.target.file(haproxy.SOCKET)))
        self._binary = self.binary or shutil.which("haproxy") or ""
        self._said = {
            "listen": str(self.target.listen),
            "applied_version": None,
            "rejected_version": None,
            "rejected_reason": "",
            "note": "",
        }

    def run(self) -> None:
        """Work until told to stop; HAProxy goes on by what it has."""
        while not self.stop.is_set():
            self.step()
            self.stop.wait(HOLD_POLL_SECONDS if self._held else POLL_SECONDS)

    def step(self) -> None:
        """One round: bring HAProxy to the table if it is not there, look after it once a second, say so."""
        try:
            table = self.source()
        except InvalidTable as error:
            self._refuse(error.version, str(error))
        except Exception as error:
            # Whatever keeps the table from being read must not end what keeps HAProxy up to date.
            logger.warning("the routing table cannot be read: %s", error)
        else:
            self._follow(table)
        self._tell()

    def _follow(self, table: RoutingTable) -> None:
        lifted = self._expired_holds(table)
        key = (table.version, table.digest, lifted)
        if key == self._settled and time.monotonic() - self._settled_at < HEARTBEAT_SECONDS:
            return
        effective = table
        for context in lifted:
            effective = released(effective, context)
        self._held = any(route.writes == "hold" for route in effective.contexts.values())
        try:
            self._apply(effective)
        except (NotYet, OSError, ValueError, subprocess.TimeoutExpired) as error:
            self._settled = None
            self._said["note"] = str(error)
            return
        except RoutingError as error:
            self._settled = None
            self._refuse(table.version, str(error))
            return
        self._settled, self._settled_at = key, time.monotonic()
        note = "; ".join(f"the hold of {name!r} was lifted at its deadline" for name in sorted(lifted))
        self._said |= {
            "applied_version": table.version,
            "rejected_version": None,
            "rejected_reason": "",
            "note": note,
        }

    def _apply(self, table: RoutingTable) -> None:
        """See Note [a flip that a reload keeps]."""
        rendered = haproxy.render(table, self.target)
        self._check(table, rendered)
        write_files(self.target.directory, rendered.files)
        state = self._runtime.read_map(self.target.file(STATE))
        self._set(READS, rendered.shares)
        self._set(WRITES, rendered.owners)
        if state.get("structure") != rendered.structure:
            raise RoutingError(
                f"its paths, rules, upstreams or limits are not those that HAProxy was started with; the files are in "
                f"place in {self.target.directory!r}: reload HAProxy"
            )
        self._set(STATE, {"version": rendered.marker})
        for name, route in table.contexts.items():
            if route.writes == "hold":
                count = self._runtime.open_requests(haproxy.write_backend(name, route.held_from or "old"))
                if count:
                    raise NotYet(f"{count} writes of {name!r} that began before the hold are not answered yet")

    def _set(self, name: str, wanted: Mapping[str, str]) -> None:
        """Change what differs and is there to be changed, and read it back."""
        file = self.target.file(name)
        now = self._runtime.read_map(file)
        changes = {key: value for key, value in wanted.items() if key in now and now[key] != value}
        for key, value in changes.items():
            self._runtime.set_map(file, key, value)
        if changes:
            now = self._runtime.read_map(file)
        if any(key in now and now[key] != value for key, value in wanted.items()):
            raise NotYet(f"HAProxy does not show what was set in {name}")

    def _check(self, table: RoutingTable, rendered: HAProxyFiles) -> None:
        """Let HAProxy itself judge a structure it was not shown before, in a directory beside the good one."""
        if not self._binary or self._checked == rendered.structure:
            return
        with tempfile.TemporaryDirectory(prefix="strangler-check-") as directory:
            write_files(directory, haproxy.render(table, replace(self.target, directory=directory)).files)
            command = [self._binary, "-c", "-q", "-f", f"{directory}/{CONFIGURATION}"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_SECONDS, check=False)
        if done.returncode:
            raise RoutingError(f"HAProxy does not accept it: {(done.stderr or done.stdout).strip()[-500:]}")
        self._checked = rendered.structure

    def _expired_holds(self, table: RoutingTable) -> frozenset[str]:
        """Contexts held for longer than their deadline, by this machine's clock since it saw the hold."""
        now = time.monotonic()
        held = {(name, route.held_at): route for name, route in table.contexts.items() if route.writes == "hold"}
        self._holds = {key: self._holds.get(key, now) for key in held}
        return frozenset(
            name for (name, at), route in held.items() if now - self._holds[name, at] > route.hold_deadline_seconds
        )

    def _refuse(self, version: int, reason: str) -> None:
        if self._refused != (version, reason):
            self._refused = (version, reason)
            logger.error("routing version %s is refused: %s", version, reason)
        self._said |= {"rejected_version": version, "rejected_reason": reason, "note": ""}

    def _tell(self) -> None:
        at, said = self._told
        if said == self._said and time.monotonic() - at < HEARTBEAT_SECONDS:
            return
        try:
            self.report(self._said)
        except Exception as error:
            logger.warning("what HAProxy answers by cannot be reported: %s", error)
            return
        self._told = (time.monotonic(), dict(self._said))
