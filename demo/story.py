"""The story: every phase by its command under traffic, back once and forth again, and a report."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg

from demo import conserved
from demo.agreement import compare
from demo.chapters import LegacyWrites, measured_cutover, shadow, shadow_report, verify
from demo.closing import close_the_books, record_traffic
from demo.commands import Code
from demo.further import Passage, leave_the_monolith_behind, nothing_is_left
from demo.plant import plant
from demo.run import Run, StoryFailed

PLANTED = 20
CLEAN_VERIFICATIONS = 2
"""As many in a row as the playbook's gate asks for before readers may move."""

RAMP = ("--steps", "25,100", "--gate", "errors,latency,diff", "--min-requests", "60", "--step-seconds", "3")
"""Percent of the readers that the service answers, each step judged before the next."""

SHADOWED = "10%"
"""How many reads the comparator asks again of both sides."""

SECONDS_BEFORE_DUAL_WRITE = 3.0
SECONDS_ON_THE_NEW_SIDE = 8.0
SECONDS_AFTER_ROLLBACK = 4.0
SECONDS_BEFORE_DECOMMISSION = 5.0


class Story(Run):
    """One run from the first customer to the verdict; ``tell`` it and then look at ``report``."""

    def tell(self) -> None:
        """Run all phases, then audit.

        Raises:
            StoryFailed, CommandFailed, ProcessDied, NotReady: What went wrong, in one message.
        """
        self._take_stock()
        try:
            with self.traffic:
                for chapter in self._chapters():
                    chapter()
                passages = [Passage(self, context) for context in self.stack.contexts[1:]]
                for passage in passages:
                    passage.carry_out()
                if nothing_is_left(self.stack.contexts):
                    leave_the_monolith_behind(self, passages)
                self.narrator.chapter("The traffic stops; the audit begins")
        finally:
            record_traffic(self)
        close_the_books(self)

    def _chapters(self) -> tuple[Callable[[], None], ...]:
        return (
            self._customers_arrive,
            self._dual_write,
            self._backfill,
            self._verify_clean,
            self._verify_planted,
            self._repair,
            self._switch_reads,
            self._first_cutover,
            self._rollback,
            self._second_cutover,
            self._decommission,
        )

    def _take_stock(self) -> None:
        with psycopg.connect(self.stack.superuser_dsn("shop")) as shop:
            (self.seeded_upto,) = shop.execute("SELECT coalesce(max(id), 0) FROM orders_order").fetchone() or (0,)
        self.untouched = self.look_at_untouched("monolith")
        dsn = self.stack.superuser_dsn("shop")
        self.money = conserved.money(dsn, "monolith", self.seeded_upto)
        self.stock = conserved.stock(dsn, "monolith", self.seeded_upto)

    def _customers_arrive(self) -> None:
        self.narrator.chapter("Phase 1, monolith_only: customers shop, through Envoy, until the very end")
        self.shop_for(SECONDS_BEFORE_DUAL_WRITE)
        outcome = self.operator.expect("strangle_status")
        self.phase("monolith_only", outcome)
        self.narrator.good(self._traffic_so_far())

    def _dual_write(self) -> None:
        self.narrator.chapter("Phase 2, dual_write: capture on; each change is carried to the service")
        outcome = self.operator.move("strangle_dual_write")
        self.dual_write_since = time.time()
        self.phase("dual_write", outcome)

    def _backfill(self) -> None:
        self.narrator.chapter("Phase 3, backfill: history is copied beside the live writes")
        outcome = self.operator.move("strangle_backfill")
        rows = int(outcome.evidence.get("rows", 0))
        seconds = float(outcome.evidence.get("seconds", outcome.seconds))
        self.report.backfill = {"rows": rows, "seconds": round(seconds, 3)}
        self.phase("backfill", outcome)
        self.narrator.good(f"{rows:,} rows in {seconds:.1f} s ({rows / max(seconds, 0.001):,.0f} a second)")

    def _verify_clean(self) -> None:
        self.narrator.chapter("Phase 4, verify: both sides compared exactly while writes go on")
        self.phase("verify", verify(self, "clean"))

    def _verify_planted(self) -> None:
        planted = plant(self.stack.superuser_dsn("orders"), count=PLANTED, seed=self.seed, upto=self.seeded_upto)
        kinds = sorted({each.kind for each in planted})
        self.narrator.say(f"planted {len(planted)} corruptions in the service: {', '.join(kinds)}")
        verify(self, "planted", planted=planted)

    def _repair(self) -> None:
        self.operator.expect("strangle_verify", "--repair", codes=(Code.DONE, Code.DIFFERENCES))
        for turn in range(1, CLEAN_VERIFICATIONS + 1):
            verify(self, f"repaired, clean {turn} of {CLEAN_VERIFICATIONS}")

    def _switch_reads(self) -> None:
        self.narrator.chapter("Phase 5, switch_reads: the service answers readers")
        shadow(self, SHADOWED)
        with self.traffic.reading():
            outcome = self.operator.move("strangle_switch_reads", *RAMP)
            self.phase("switch_reads", outcome)
            for step in outcome.evidence.get("steps", ()):
                self.narrator.good(f"{step['percent']:g} % of the readers: {'; '.join(step['reasons'])}")
        compared, different = shadow_report(self)
        if different:
            raise StoryFailed(f"{different} of {compared} shadow reads differ; see var/demo/shadow-orders.html")
        self.narrator.good(f"{compared:,} shadow reads compared, none different; {self._traffic_so_far()}")

    def _first_cutover(self) -> None:
        self.narrator.chapter("Phase 6, cutover: the service takes the writes")
        before = LegacyWrites.of(self.traffic)
        self.phase("cutover", measured_cutover(self, "strangle_cutover", "forward"))
        self.shop_for(SECONDS_ON_THE_NEW_SIDE)
        refused = LegacyWrites.of(self.traffic).refused - before.refused
        self.narrator.good(f"writes land in the service; the fence refused old writers {refused} times")
        if not refused:
            raise StoryFailed("no legacy writer was refused after the cutover; is the monolith's fence installed?")

    def _rollback(self) -> None:
        self.narrator.chapter("Back: the monolith takes the writes again, with all that the service had written")
        before = LegacyWrites.of(self.traffic)
        self.phase("rollback", measured_cutover(self, "strangle_rollback", "reverse"))
        self.shop_for(SECONDS_AFTER_ROLLBACK)
        self.supervisor.await_condition(
            "a write of the legacy writers after the rollback",
            lambda: LegacyWrites.of(self.traffic).done > before.done,
            30.0,
        )
        self._sides_agree("after the rollback")
        verify(self, "after the rollback")

    def _second_cutover(self) -> None:
        self.narrator.chapter("Forth again: cutover")
        self.phase("cutover again", measured_cutover(self, "strangle_cutover", "forward"))
        self.shop_for(SECONDS_BEFORE_DECOMMISSION)
        self._sides_agree("after the second cutover")

    def _decommission(self) -> None:
        self.narrator.chapter("Phase 7, decommission: the old tables go out of service")
        self._record_lag()
        shadow(self, "0%")
        self.traffic.retire_legacy_writers()
        self.phase("decommission", self.operator.move("strangle_decommission"))
        self.shop_for(SECONDS_BEFORE_DECOMMISSION)

    def _record_lag(self) -> None:
        lag = self.operator.status().get("lag_ms") or {}
        self.report.lag_ms = {"p50": lag.get("p50"), "p99": lag.get("p99")}
        self.narrator.say(f"lag, committed to applied: p50 {lag.get('p50')} ms, p99 {lag.get('p99')} ms")

    def _sides_agree(self, when: str) -> None:
        self.agree(compare(self.stack.superuser_dsn("shop"), self.stack.superuser_dsn("orders")), when)

    def _traffic_so_far(self) -> str:
        tally, writes = self.traffic.tally, len(self.traffic.clock)
        return f"{tally.requests:,} requests, {tally.failed} failed, {writes:,} writes acknowledged"
