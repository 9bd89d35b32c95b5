"""The agent: reads the table, renders, validates, publishes to Envoy, confirms, and reports."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from migration_tools.errors import RoutingError, StrangleError
from migration_tools.routing.counts import Observed
from migration_tools.routing.table import InvalidTable, RoutingTable, released
from proxy.admin import answered_marker
from proxy.files import Directory
from proxy.options import ProxyOptions
from proxy.parking import Parking
from proxy.process import EnvoyProcess, find_envoy
from proxy.render_envoy import Documents, render
from proxy.routes import PINNED_HEADER, WRITES_HEADER
from proxy.streams import open_streams
from proxy.traffic import TrafficMeter
from proxy.validation import RejectedByEnvoy, validate

HEARTBEAT_SECONDS = 1.0
MEASURE_SECONDS = 0.25
OUTAGE_PAUSE_SECONDS = 0.25
CONFIRM_POLL_SECONDS = 0.002
HOLD_POLL_SECONDS = 0.005
STREAMS = "^listener%5C..*_stream_(old%7Cnew)%5C.downstream_cx_active$"

logger = logging.getLogger(__name__)

Source = Callable[[], RoutingTable]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one proxy is doing now."""

    proxy: str
    listen: str
    applied_version: int | None = None
    rejected_version: int | None = None
    rejected_reason: str = ""
    note: str = ""
    streams: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class NotConfirmed(RoutingError):
    """Envoy does not answer by the new files yet; they stay, and are asked for again."""


class Agent:
    """Keep one Envoy answering by the current table; when the table cannot be read, by the last good one.

    Args:
        source: reads the current table; any exception means "not now".
        report: told about every change and once a second; exceptions are logged and it is told again.
        measure: told what readers got, as soon as there is something; on an exception it is told later.
        farewell: told when Envoy was stopped in order, so that nobody waits for this proxy.
    """

    def __init__(
        self,
        options: ProxyOptions,
        source: Source,
        report: Callable[[Report], None] | None = None,
        measure: Callable[[str, list[Observed]], None] | None = None,
        farewell: Callable[[str], object] | None = None,
    ) -> None:
        self.options = options
        self.stopping = threading.Event()
        self._replacing = threading.Event()
        self.state = Report(proxy=options.name, listen=str(options.listen))
        self._source = source
        self._report = report
        self._measure = measure
        self._farewell = farewell
        self._directory = Directory(options.directory, options.ids)
        self._envoy_binary = find_envoy(options.envoy)
        self._envoy = EnvoyProcess(options, self._envoy_binary)
        self.parking = Parking(options.parking_socket, (WRITES_HEADER, PINNED_HEADER), options.ids)
        self._meter = TrafficMeter(self._envoy)
        self._untold: list[Observed] = []
        self._measured_at = float("-inf")
        self._good: RoutingTable | None = None
        self._good_documents: Documents | None = None
        self._started = False
        self._settled: object = None
        self._holds: dict[tuple[str, str | None], float] = {}
        self._reported_at = float("-inf")
        self._outage = ""

    @property
    def envoy(self) -> EnvoyProcess:
        return self._envoy

    def run(self) -> None:
        """Work until `stop()`; then Envoy is stopped too.

        Raises:
            RoutingError: another agent runs on the same directory.
        """
        with self._directory.locked(), self.parking.open():
            try:
                while not self.stopping.is_set():
                    self.step()
                    self.stopping.wait(self._pause())
            finally:
                if self._started:
                    self._envoy.stop()
                if self._farewell is not None:
                    self._farewell(self.options.name)

    def stop(self) -> None:
        self.stopping.set()

    def replace_envoy(self) -> None:
        """Ask for another Envoy in the place of this one, for a new binary or to be rid of an old process."""
        self._replacing.set()

    def _replace_envoy(self) -> None:
        try:
            self._envoy.replace()
        except RoutingError as error:
            logger.error("%s", error)
            self._change(note=str(error))

    def _pause(self) -> float:
        """Until the next look at the table; short while writes are held, because customers wait for the release."""
        if self._outage:
            return OUTAGE_PAUSE_SECONDS
        held = self._good is not None and _held(self._good)
        return min(self.options.poll_seconds, HOLD_POLL_SECONDS) if held else self.options.poll_seconds

    def step(self) -> None:
        """One round: apply the table if it is not in force yet, and say so."""
        table = self._read()
        if table is None and not self._started:
            table = self._last_good()
        if table is not None:
            lifted = self._expired_holds(table)
            key = (table.version, table.digest, lifted)
            if key != self._settled:
                self._settle(table, lifted, key)
        if self._replacing.is_set() and self._started:
            self._replacing.clear()
            self._replace_envoy()
        self._tell()
        self._count()

    def _read(self) -> RoutingTable | None:
        try:
            table = self._source()
        except InvalidTable as error:
            self._reject(error.version, str(error))
            return None
        except Exception as error:
            # Whatever keeps the table from being read must not keep users from being served.
            if not self._outage:
                logger.warning("the routing table cannot be read: %s; serving by the last good one", error)
            self._outage = str(error) or type(error).__name__
            return None
        if self._outage:
            logger.info("the routing table can be read again")
            self._outage = ""
        return table

    def _last_good(self) -> RoutingTable | None:
        try:
            return self._directory.last_good()
        except StrangleError as error:
            logger.error("%s", error)
            return None

    def _settle(self, table: RoutingTable, lifted: frozenset[str], key: object) -> None:
        effective = table
        for context in lifted:
            effective = released(effective, context)
        try:
            self._apply(effective)
        except NotConfirmed as error:
            logger.warning("%s", error)
            self._change(note=str(error))
            return
        except RoutingError as error:
            self._settled = key
            self._reject(table.version, str(error))
            if self._good is None:
                self._start_with_last_good()
            return
        self._settled = key
        notes = [f"the hold of {name!r} was lifted at its deadline" for name in sorted(lifted)]
        self._directory.save_last_good(table)
        self._change(applied_version=table.version, rejected_version=None, rejected_reason="", note="; ".join(notes))

    def _apply(self, table: RoutingTable) -> None:
        documents = render(table, self.options)
        # Endpoints are plain addresses of ours; leaving them out makes a hold about 100 ms faster.
        if self._good_documents is None or documents.shape != self._good_documents.shape:
            validate(documents, binary=self._envoy_binary, directory=self._directory.path)
            self._envoy.check_room(documents.watches)
        offset = self._envoy.log_offset()
        held = _held(table)
        self.parking.hold(held)
        try:
            # Clusters that go away must first be named by no route; see Note [order of files].
            bridge = documents.keeping_clusters_of(self._good_documents)
            changed = self._directory.write(bridge.files())
            if not self._started:
                self._envoy.start()
                self._started = True
            self._confirm(bridge, offset)
            self.parking.keep_only(held)
            if bridge is not documents:
                self._directory.write(documents.files())
        except RejectedByEnvoy:
            if self._good_documents is not None:
                self._directory.write(self._good_documents.files())
            raise
        self._good, self._good_documents = table, documents
        logger.info("routing version %s is in force (%s)", table.version, ", ".join(changed) or "no change")

    def _start_with_last_good(self) -> None:
        table = self._last_good()
        if table is None:
            return
        try:
            self._apply(table)
        except RoutingError as error:
            logger.error("the last good table cannot be used either: %s", error)
            return
        self._change(applied_version=table.version)

    def _confirm(self, documents: Documents, offset: int) -> None:
        deadline = time.monotonic() + self.options.confirm_seconds
        expected = documents.hosts()
        while True:
            reason = self._envoy.rejections(offset)
            if reason:
                raise RejectedByEnvoy(reason)
            if self._hosts_are(expected) and answered_marker(self.options.listen) == documents.marker:
                return
            if time.monotonic() > deadline or self.stopping.is_set():
                raise NotConfirmed(
                    f"envoy does not answer by the new routes after {self.options.confirm_seconds:g} s; "
                    f"is {self.options.listen} taken? see envoy.log in {str(self.options.directory)!r}"
                )
            time.sleep(CONFIRM_POLL_SECONDS)

    def _hosts_are(self, expected: dict[str, set[str]]) -> bool:
        try:
            found = self._envoy.admin.hosts()
        except (OSError, ValueError):
            return False
        return all(found.get(cluster) == hosts for cluster, hosts in expected.items())

    def _expired_holds(self, table: RoutingTable) -> frozenset[str]:
        """Contexts held for longer than their deadline, by this machine's clock since it saw the hold."""
        now = time.monotonic()
        held = {(name, table.contexts[name].held_at): table.contexts[name] for name in _held(table)}
        self._holds = {key: self._holds.get(key, now) for key in held}
        return frozenset(
            name for (name, at), route in held.items() if now - self._holds[name, at] > route.hold_deadline_seconds
        )

    def _reject(self, version: int, reason: str) -> None:
        if (self.state.rejected_version, self.state.rejected_reason) != (version, reason):
            logger.error("routing version %s is refused: %s", version, reason)
            self._change(rejected_version=version, rejected_reason=reason)

    def _change(self, **values: int | str | None) -> None:
        changed = replace(self.state, **values)  # type: ignore[arg-type]
        if changed != self.state:
            self.state = changed
            self._reported_at = float("-inf")

    def _tell(self) -> None:
        if self._report is None or time.monotonic() - self._reported_at < HEARTBEAT_SECONDS:
            return
        self._reported_at = time.monotonic()
        try:
            if self._started:
                self.state = replace(self.state, streams=open_streams(self._envoy.admin.stats(STREAMS)))
            self._report(self.state)
        except Exception as error:
            logger.warning("the proxy's state cannot be reported: %s", error)

    def _count(self) -> None:
        """Pass on what readers got; what cannot be told now is kept and told with the next."""
        if self._measure is None or self._good is None or time.monotonic() - self._measured_at < MEASURE_SECONDS:
            return
        self._measured_at = time.monotonic()
        try:
            self._untold += self._meter.look(self._good.contexts)
            if self._untold:
                self._measure(self.options.name, self._untold)
                self._untold = []
        except Exception as error:
            logger.warning("what readers got cannot be reported now: %s", error)


def _held(table: RoutingTable) -> list[str]:
    return [name for name, route in table.contexts.items() if route.writes == "hold"]
