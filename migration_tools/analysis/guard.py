"""The guard: a JOIN, transaction or foreign write across contexts that is not accepted is logged, or refused."""

import logging
import threading
from enum import StrEnum

from migration_tools.analysis.baseline import GUARDED, Baseline, Coupling
from migration_tools.analysis.context_map import ContextMap, Exemption
from migration_tools.analysis.findings import Finding, Place
from migration_tools.analysis.observation import Observation
from migration_tools.analysis.trace import Sent, Written, note_write
from migration_tools.analysis.traced import of_statement, of_transaction
from migration_tools.errors import CouplingRefused

logger = logging.getLogger("strangle.guard")


class Mode(StrEnum):
    """What the guard does with a coupling that is not accepted."""

    OFF = "off"
    LOG = "log"
    RAISE = "raise"


class Guard:
    """A listener. `met` holds what was not accepted, each once, also where the application swallowed the refusal."""

    def __init__(self, contexts: ContextMap, baseline: Baseline, mode: Mode):
        self.contexts = contexts
        self.baseline = baseline
        self.mode = mode
        self.met: dict[Coupling, Finding] = {}
        self.refusals = 0
        self.last_refusal = ""
        self._judged: dict[tuple[str, str, int], tuple[Finding, ...]] = {}
        self._lock = threading.Lock()

    def __call__(self, seen: Observation) -> None:
        """Judge a statement before it is sent.

        Raises:
            CouplingRefused: it couples contexts anew, and the mode is `raise`.
        """
        if self.mode is Mode.OFF:
            return
        for finding in (*self._of_statement(seen), *self._of_transaction(seen)):
            coupling = Coupling.of(finding)
            functions = [frame.function for frame in seen.frames]
            accepted = self.baseline.accepts(coupling, functions)
            if not accepted and not self.contexts.exempts(coupling.rule, coupling.function):
                self._meet(coupling, finding)

    def _of_statement(self, seen: Observation) -> tuple[Finding, ...]:
        site = seen.site
        place = site.place if site else Place()
        key = (seen.shape, place.file, place.line)
        if key not in self._judged:
            sent = Sent(
                shape=seen.shape,
                context=site.context if site else None,
                function=site.function if site else "",
                place=place,
                count=1,
            )
            self._judged[key] = tuple(each for each in of_statement(sent, self.contexts) if each.rule in GUARDED)
        return self._judged[key]

    def _of_transaction(self, seen: Observation) -> tuple[Finding, ...]:
        if not seen.statement.writes:
            return ()
        entry = note_write(seen.unit, seen, self.contexts)
        if len(seen.unit.writes) < 2 or entry is None:
            return ()
        tables = tuple(sorted(table for tables in seen.unit.writes.values() for table in tables))
        own = tuple(table for table in tables if not self.contexts.is_framework(self.contexts.of_table(table)))
        written = Written(function=entry.function, context=entry.context, place=entry.start, tables=own, count=1)
        return tuple(of_transaction(written, self.contexts))[:1]

    def _meet(self, coupling: Coupling, finding: Finding) -> None:
        message = refusal(coupling, finding, self.contexts.exemptions)
        with self._lock:
            new = coupling not in self.met
            self.met[coupling] = finding
            self.refusals += 1
            self.last_refusal = message
        if self.mode is Mode.RAISE:
            raise CouplingRefused(message)
        if new:
            logger.warning(message, extra={"rule": coupling.rule, "function": coupling.function})


def refusal(coupling: Coupling, finding: Finding, exemptions: tuple[Exemption, ...]) -> str:
    """What a developer reads: what was done, where, the remedy, and how to postpone it honestly."""
    over = [
        f" its exemption ({each.issue}) ended on {each.expires}."
        for each in exemptions
        if each.covers(coupling.rule, coupling.function)
    ]
    return (
        f"{coupling.rule} across contexts at {finding.place}: {finding.message}; {finding.of.remedy}."
        f"{''.join(over)} Until then: [[exemptions]] in contexts.toml with rule = {coupling.rule!r}, "
        f"function = {coupling.function!r}, an issue and a day of expiry"
    )
