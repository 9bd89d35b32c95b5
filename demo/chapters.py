"""Two things that several chapters of the story do: a scored verification, and a measured change of owner."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from demo import OUTPUT, ROOT
from demo.commands import Code, CommandFailed, Operator, Outcome
from demo.plant import Planted, score
from demo.report import Cutover, Verification
from demo.run import Run
from demo.stack import CONTEXT
from demo.traffic import Traffic

BASELINE_SECONDS = 3.0
"""How long the probes write, at least, before the owner changes."""

SETTLE_SECONDS = 1.0
"""Watched after the command, so that a late failure counts as the cutover's."""


@dataclass(frozen=True, kw_only=True)
class LegacyWrites:
    """How far the writers that go around HTTP have come."""

    done: int
    refused: int

    @classmethod
    def of(cls, traffic: Traffic) -> Self:
        events = traffic.tally.summary()["events"]
        done = sum(count for name, count in events.items() if name.startswith(("bulk updater:", "raw-SQL writer:")))
        return cls(done=done, refused=events.get("refused by the fence", 0))


def verify(run: Run, what: str, *, planted: Sequence[Planted] = (), operator: Operator | None = None) -> Outcome:
    """Run a verification; score it against what was planted; enter it in the report.

    Raises:
        CommandFailed: The command ended otherwise than its findings say it should.
    """
    operator = operator or run.operator
    outcome = operator.move("strangle_verify") if not planted else operator.call("strangle_verify")
    expected = Code.DIFFERENCES if planted else Code.DONE
    if outcome.code != expected:
        raise CommandFailed(
            f"strangle_verify ({what}) ended with exit code {outcome.code}, expected {expected.value}: "
            f"{outcome.message}\n{outcome.errors[-2000:]}"
        )
    evidence = outcome.evidence
    rows, differences = int(evidence.get("rows", 0)), int(evidence.get("differences", 0))
    if not planted:
        entry = Verification(rows=rows, differences=differences, false_alarms=differences)
    else:
        result = score(planted, ROOT / Path(str(evidence["report"])))
        entry = Verification(
            rows=rows,
            differences=differences,
            false_alarms=result.false_alarms,
            planted=result.planted,
            found=result.found,
        )
        for missed in result.missed:
            run.narrator.bad(f"missed: {missed.kind} in {missed.table} {sorted(missed.keys)}")
        for alarm in result.alarms[:10]:
            run.narrator.bad(f"false alarm: {alarm}")
    run.report.verification.append(entry)
    told = f"{what}: {rows:,} rows compared in {outcome.seconds:.1f} s, {differences} differences"
    if planted:
        told += f"; {entry.found} of {entry.planted} planted found, {entry.false_alarms} false alarms"
    run.narrator.good(told)
    return outcome


def shadow(run: Run, share: str) -> None:
    """Let this share of the reads be asked again of both sides.

    Raises:
        CommandFailed: The table was not published, or Envoy does not answer by it.
    """
    outcome = run.operator.tool("strangle_route", "set", CONTEXT, f"shadow={share}", "--format", "json")
    if outcome.code != Code.DONE:
        raise CommandFailed(f"{outcome.command} ended with exit code {outcome.code}: {outcome.errors[-2000:]}")
    run.narrator.say(f"{share} of the reads are asked again of both sides, to compare the answers")


def shadow_report(run: Run) -> tuple[int, int]:
    """Write the report of the shadow reads; give how many were compared, and how many differed.

    Raises:
        CommandFailed: Nothing was compared, or there is no report.
    """
    where = ("--directory", str(OUTPUT.relative_to(ROOT)))
    outcome = run.operator.tool("strangle_shadow", "report", CONTEXT, "--format", "json", *where)
    if outcome.code not in (Code.DONE, Code.DIFFERENCES):
        raise CommandFailed(f"{outcome.command} ended with exit code {outcome.code}: {outcome.errors[-2000:]}")
    return int(outcome.answer["compared"]), int(outcome.answer["different"])


def measured_cutover(run: Run, command: str, direction: str, *, operator: Operator | None = None) -> Outcome:
    """Change the owner while probes write back to back; the longest gap goes beside one of quieter times.

    The baseline window is as long as the command's, just before it, and holds the command's own dry run, so
    that both windows carry the same load but for the change of owner itself.
    """
    traffic, operator = run.traffic, operator or run.operator
    with traffic.probing():
        probing_since = time.monotonic()
        dry = operator.call(command, "--dry-run")
        if dry.code not in (Code.DONE, Code.GATE_NOT_MET):
            told = f"{dry.command} ended with exit code {dry.code}"
            raise CommandFailed(f"{told}: {dry.message}\n{dry.errors[-2000:]}")
        _watch(run, "the quiet stretch before the cutover", probing_since + BASELINE_SECONDS)
        started = time.monotonic()
        outcome = operator.move(command)
        ended = time.monotonic()
        _watch(run, "the stretch after the cutover", ended + SETTLE_SECONDS)
    gap = traffic.clock.longest_gap(started, ended)
    baseline = traffic.clock.longest_gap(max(started - (ended - started), probing_since), started)
    entry = Cutover(
        direction=direction,
        longest_write_gap_ms=round(1000 * gap, 1),
        baseline_write_gap_ms=round(1000 * baseline, 1),
        failed_requests=traffic.tally.failed_between(started, time.monotonic()),
    )
    run.report.cutover.append(entry)
    run.narrator.good(
        f"longest time without an acknowledged write {entry.longest_write_gap_ms:.0f} ms "
        f"(baseline {entry.baseline_write_gap_ms:.0f} ms), {entry.failed_requests} failed requests, "
        f"fence held {outcome.evidence.get('pause_ms', '?')} ms"
    )
    return outcome


def _watch(run: Run, what: str, until: float) -> None:
    run.supervisor.await_condition(what, lambda: time.monotonic() >= until, 60.0)
