"""The story: a context of oscar through every phase by the toolkit's commands, back once, and the audit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from demo import ledger
from demo.audit import Findings, merge, settled
from demo.commands import Operator, Outcome
from demo.narrate import Narrator
from demo.oscar.assortment import audit_pages, audit_tree
from demo.oscar.audit import Book, Connection, audit_orders, differences, fold
from demo.oscar.people import Traffic
from demo.oscar.stack import OscarStack
from demo.oscar.written import by_hand, generated
from demo.processes import Supervisor

RAMP = ("--steps", "50,100", "--gate", "errors", "--step-seconds", "2")
AGREE_SECONDS = 30.0
STILL_READ = {"catalogue"}
"""Contexts whose old tables the monolith's other pages go on to read: they stay as copies that follow."""


class StoryFailed(Exception):
    """Something that must hold did not; the message says what."""


@dataclass(kw_only=True)
class Story:
    """One run; `tell` it, then read `findings` and `facts`."""

    stack: OscarStack
    supervisor: Supervisor
    narrator: Narrator
    traffic: Traffic
    ledger: Path
    run: str
    seconds: float
    writes: int
    reads: int
    facts: dict[str, Any] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    context: str = ""
    operator: Operator = field(init=False)

    def tell(self) -> None:
        """All phases, then the audit.

        Raises:
            StoryFailed, CommandFailed, ProcessDied, NotReady: what went wrong, in one message.
        """
        self._count_what_was_written()
        try:
            self.traffic.start()
            for context in self.stack.contexts:
                self._carry_out(context)
            self.narrator.chapter("The traffic stops; the audit begins")
        finally:
            self.traffic.stop()
            self.facts["traffic"] = self.traffic.shop.tally.summary()
        self._audit()

    def _count_what_was_written(self) -> None:
        written = by_hand(self.stack.contexts)
        lines = generated(self.stack.generated)
        self.facts["contexts"] = list(self.stack.contexts)
        self.facts["written"] = {"by_hand": written, "generated": lines}
        each = ", ".join(f"{name} {count}" for name, count in written.items())
        self.narrator.good(
            f"written by hand for oscar: {sum(written.values())} lines of code ({each}); by the generators: {lines:,}"
        )

    def _carry_out(self, context: str) -> None:
        self.context = context
        self.operator = Operator(self.stack, self.supervisor, say=self.narrator.say, context=context)  # type: ignore[arg-type]
        self._chapter("monolith_only: customers browse, fill baskets and check out by oscar's own views")
        self._go_on()
        self._chapter("dual_write", "strangle_dual_write")
        self._chapter("backfill", "strangle_backfill")
        self._chapter("verify: both sides compared exactly under writes")
        self._verify()
        ramp = (*RAMP, "--min-requests", str(self.reads))
        self._chapter("switch_reads: pages are answered from the service's database", "strangle_switch_reads", *ramp)
        self._chapter("cutover: it is written in the service's database", "strangle_cutover")
        self._go_on()
        self._agree("after the cutover")
        self._chapter("back: the monolith takes the writes again", "strangle_rollback")
        self._go_on()
        self._agree("after the rollback")
        self._verify()
        self._chapter("forth again", "strangle_cutover")
        self._go_on()
        self._agree("after the second cutover")
        if context in STILL_READ:
            self._keep_copies()
            return
        where = ("--directory", str(self.supervisor.directory / "archive"))
        self._chapter("decommission: the old tables go out of service", "strangle_decommission", *where)
        self._go_on()
        title = "removal: the dump is restored elsewhere, the old tables go"
        self._gone(self._chapter(title, "strangle_decommission", "--remove")["dropped"])
        self._go_on()

    def _keep_copies(self) -> None:
        """The other end, back once and there again; oscar's other pages go on to join the copies all the time."""
        keep = ("strangle_decommission", "--keep-copies")
        self._verify()
        self._kept(self._chapter("decommission: the old tables stay as copies that follow", *keep))
        self._go_on()
        self._agree("with copies that follow")
        self._chapter("back: applications may be given the old tables again", "strangle_rollback")
        self._go_on()
        self._kept(self._chapter("and copies again", *keep))
        self._go_on()
        self._agree("at the end")

    def _kept(self, evidence: dict[str, Any]) -> None:
        """Whoever runs oscar may read the copies, and PostgreSQL itself refuses that they write them."""
        with psycopg.connect(self.stack.postgres.dsn("oscar", "oscar_app"), autocommit=True) as oscar:
            for table in evidence["tables"]:
                oscar.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
                try:
                    oscar.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
                except psycopg.errors.InsufficientPrivilege:
                    continue
                raise StoryFailed(f"{table!r} is a copy, and oscar_app could take rows out of it")
        self.narrator.good(
            f"{len(evidence['references_cut'])} references of oscar's other tables are cut; oscar reads "
            f"{len(evidence['tables'])} copies, and PostgreSQL refuses that it writes them"
        )

    def _gone(self, tables: list[str]) -> None:
        with self._sides() as (oscar, _):
            query = "SELECT count(*) FROM pg_class WHERE relname = ANY (%s) OR relnamespace::regnamespace::text ~ %s"
            left = oscar.execute(query, [tables, "^strangle_quarantine"]).fetchone()
        if left != (0,):
            raise StoryFailed(f"{left} of {len(tables)} old tables are still in oscar's database")
        self.narrator.good(f"{len(tables)} tables are gone from oscar's database (independent SQL)")

    def _chapter(self, title: str, command: str = "", *arguments: str) -> dict[str, Any]:
        self.narrator.chapter(f"{self.context}: {title}")
        evidence: dict[str, Any] = {}
        if command:
            outcome = self.operator.move(command, *arguments)
            self.narrator.good(outcome.message)
            self.facts.setdefault("moves", []).append(
                {"context": self.context, "command": command, "seconds": round(outcome.seconds, 2)}
            )
            self._remember(outcome)
            evidence = outcome.evidence
        self._tell_failures()
        return evidence

    def _remember(self, outcome: Outcome) -> None:
        if "pause_ms" in outcome.evidence:
            self.facts.setdefault("pause_ms", []).append(outcome.evidence["pause_ms"])
            self.narrator.good(f"writes waited at the proxy for {outcome.evidence['pause_ms']} ms")
        if "rows" in outcome.evidence and outcome.command.startswith("strangle_backfill"):
            self.facts["backfilled"] = self.facts.get("backfilled", 0) + outcome.evidence["rows"]

    def _verify(self) -> None:
        """As often as the playbook's gate asks, which the command knows."""
        outcome = self.operator.move("strangle_verify")
        rows, found = int(outcome.evidence["rows"]), int(outcome.evidence["differences"])
        self.facts["differences"] = self.facts.get("differences", 0) + found
        self.facts["verified"] = rows
        clean = outcome.evidence["clean_in_a_row"]
        self.narrator.good(f"{rows:,} rows compared by strangle_verify, {found} differences, {clean} times in a row")
        self._tell_failures()

    def _go_on(self) -> None:
        """Let the traffic go on for a while, and for some acknowledged writes at least."""
        until, writes = time.monotonic() + self.seconds, len(self.traffic.shop.clock) + self.writes
        self.supervisor.await_condition(
            f"{self.writes} more writes",
            lambda: time.monotonic() >= until and len(self.traffic.shop.clock) >= writes,
            self.seconds + 120.0,
        )
        tally = self.traffic.shop.tally
        self.narrator.good(
            f"{tally.requests:,} requests, {tally.failed} failed, {len(self.traffic.shop.clock):,} writes acknowledged"
        )
        self._tell_failures()

    def _tell_failures(self) -> None:
        failures = self.traffic.shop.tally.failures
        for failure in failures[self.facts.get("told", 0) :][:3]:
            self.narrator.bad(f"{failure.who}: {failure.request}: {failure.status} {failure.detail[:400]}")
        self.facts["told"] = len(failures)

    def _agree(self, when: str) -> None:
        """Both sides say the same in every table of the context, as soon as what is on its way has arrived."""
        with self._sides() as (oscar, service):
            tables = [
                name
                for (name,) in service.execute(
                    "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND "
                    "NOT starts_with(tablename, 'strangle_') AND NOT starts_with(tablename, 'django_') ORDER BY 1"
                ).fetchall()
            ]
            rows, left = self._settle(lambda: differences(oscar, service, tables))
        if left:
            raise StoryFailed(f"{len(left)} rows differ {when}: {'; '.join(left[:5])}")
        self.narrator.good(f"{when} both sides agree in {rows:,} rows of {len(tables)} tables (independent SQL)")

    def _settle(self, look: Callable[[], tuple[int, list[str]]]) -> tuple[int, list[str]]:
        """Writes go on, so a row may be on its way: a row counts once it differs in every look."""
        rows, left = look()
        until = time.monotonic() + AGREE_SECONDS
        while left and time.monotonic() < until:
            self.supervisor.check()
            rows, again = look()
            left = sorted(set(left) & set(again))
        return rows, left

    @contextmanager
    def _sides(self) -> Iterator[tuple[psycopg.Connection[Any], psycopg.Connection[Any]]]:
        with self._database("oscar") as oscar, self._database(self.context) as service:
            yield oscar, service

    def _database(self, name: str) -> Connection:
        return psycopg.connect(self.stack.superuser_dsn(name), autocommit=True)

    def _look(self, book: Book, oscar: Connection, services: dict[str, Connection]) -> Findings:
        """Orders are where they are owned, and so is the catalogue, of which somebody may have changed nothing."""
        findings = audit_orders(book, services.get("order", oscar), oscar, self.run)
        if "catalogue" in services:
            entries = list(ledger.read(self.ledger))
            of_catalogue = (audit_tree(entries, services["catalogue"]), audit_pages(entries, services["catalogue"]))
            findings = merge(findings, merge(*of_catalogue))
        return findings

    def _audit(self) -> None:
        book = fold(ledger.read(self.ledger))
        with ExitStack() as stack:
            oscar = stack.enter_context(self._database("oscar"))
            services = {name: stack.enter_context(self._database(name)) for name in self.stack.contexts}
            self.findings = settled(lambda: self._look(book, oscar, services))
        self.facts["acknowledged"] = book.acknowledged
        self.facts["audit"] = self.findings.as_dict()
        checked = ", ".join(f"{count:,} {name}" for name, count in sorted(self.findings.checked.items()))
        self.narrator.good(f"checked against the customers' ledger: {checked}")
        for name in ("lost", "duplicated", "resurrected", "wrong"):
            for sentence in getattr(self.findings, name)[:5]:
                self.narrator.bad(f"{name}: {sentence}")
        if not book.acknowledged or not self.findings.clean:
            raise StoryFailed("the audit found writes lost, doubled or wrong")
        if failed := self.facts["traffic"]["failed"]:
            raise StoryFailed(f"{failed} requests failed, the first: {self.facts['traffic']['failures'][0]}")
