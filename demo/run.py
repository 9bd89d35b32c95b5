"""One run of the demo: what there is while the story is told, and what every chapter of it does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import OUTPUT, conserved
from demo.agreement import Agreement
from demo.audit import fingerprint
from demo.commands import Operator, Outcome
from demo.legacy_writers import TOUCHED_MODULUS, TOUCHED_REMAINDER
from demo.narrate import Narrator
from demo.processes import Supervisor
from demo.report import Phase, Report
from demo.stack import Stack
from demo.traffic import Traffic

WRITES_AT_LEAST = 20
"""How many writes must be acknowledged in a stretch of traffic before the story goes on."""


class StoryFailed(Exception):
    """Something that must hold did not; the message says what."""


@dataclass(kw_only=True)
class Run:
    """One run of the demo: its processes and traffic, and what every chapter does with them."""

    stack: Stack
    supervisor: Supervisor
    narrator: Narrator
    traffic: Traffic
    ledger: Path
    seed: int
    report: Report
    seeded_upto: int = 0
    dual_write_since: float = 0.0
    money: conserved.Sum = (0, "")
    stock: conserved.Sum = (0, "")
    untouched: tuple[int, str] = (0, "")

    def __post_init__(self) -> None:
        self.operator = Operator(self.stack, self.supervisor, say=self.narrator.say)
        self._told_failures = 0

    def look_at_untouched(self, owner: Any) -> tuple[int, str]:
        """Count and digest the seeded orders that no writer of the demo touches, on the owner's side."""
        database = "shop" if owner == "monolith" else "orders"
        return fingerprint(
            self.stack.superuser_dsn(database),
            owner,
            upto=self.seeded_upto,
            modulus=TOUCHED_MODULUS,
            remainder=TOUCHED_REMAINDER,
        )

    def agree(self, agreement: Agreement, when: str) -> None:
        """Tell that both sides agree.

        Raises:
            StoryFailed: they do not.
        """
        examples = "\n".join(str(difference) for difference in agreement.differences[:10])
        self.expect(agreement.complete, f"the sides differ in {len(agreement.differences)} rows, {when}:\n{examples}")
        self.narrator.good(
            f"{when} both sides agree in all {agreement.rows:,} rows (independent SQL, {agreement.seconds:.1f} s)"
        )

    def expect(self, held: bool, otherwise: str) -> None:
        """Go on if something holds that must.

        Raises:
            StoryFailed: it does not; `otherwise` says what is so instead.
        """
        if not held:
            raise StoryFailed(otherwise)

    def phase(self, name: str, outcome: Outcome) -> None:
        self.report.phases.append(Phase(name=name, seconds=round(outcome.seconds, 3), evidence=outcome.evidence))
        if outcome.message:
            self.narrator.good(outcome.message)
        self.report.write(OUTPUT / "report.json")
        self._tell_failures()

    def _tell_failures(self) -> None:
        """Tell of failed requests as soon as a phase has ended, a few at a time."""
        failures = self.traffic.tally.failures
        for failure in failures[self._told_failures :][:3]:
            self.narrator.bad(f"{failure.who}: {failure.request}: {failure.status} {failure.detail[:300]}")
        self._told_failures = len(failures)

    def shop_for(self, seconds: float) -> None:
        """Let the traffic go on for ``seconds`` and at least a few writes, watching the processes."""
        until, writes = time.monotonic() + seconds, len(self.traffic.clock) + WRITES_AT_LEAST
        self.supervisor.await_condition(
            f"{WRITES_AT_LEAST} more writes",
            lambda: time.monotonic() >= until and len(self.traffic.clock) >= writes,
            seconds + 30.0,
        )
