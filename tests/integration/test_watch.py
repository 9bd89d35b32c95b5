"""A watch compares what changed at once and everything else in turn, and is not green when something differs."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Self

import pytest
from django.core.management import CommandError

from migration_tools.errors import ExitCode
from migration_tools.phases.signals import divergence_found
from migration_tools.state.models import Context, JournalEntry, Verification
from migration_tools.stores.postgres import connect
from migration_tools.verification.report import VerificationReport
from migration_tools.verification.verify import Sides
from migration_tools.verification.watch import Step, Watch
from tests.conftest import ROOT, Pair
from tests.corruption import LINE, ORDER, unseen
from tests.integration.test_phases import Road, road, writing
from tests.stage import Stage

__all__ = ["road"]


def step(stage: Stage, watch: Watch) -> Step:
    with stage.ends() as ends, connect("orders", "test reader") as reader:
        return watch.step(Sides(ends=ends, receiver_reader=reader, direction="forward"))


def one_round(stage: Stage, watch: Watch) -> list[Step]:
    steps = [step(stage, watch)]
    while not steps[-1].round_done:
        steps.append(step(stage, watch))
    return steps


def journal(name: str) -> int:
    return JournalEntry.objects.filter(move="watch", step=name).count()


def test_a_step_compares_the_changed_keys_and_no_more_than_its_share_of_the_rest(stage: Stage) -> None:
    stage.backfill()
    watch = Watch(rows_at_most=100)
    assert len(one_round(stage, watch)) > 5
    watch.begin_round()
    stage.shop.execute("UPDATE orders_order SET note = 'changed' WHERE id IN (290, 291)")
    stage.settle()
    found = step(stage, watch)
    assert (found.changed_keys, found.round_done, watch.open) == (2, False, 0)
    assert 50 <= found.swept_rows <= 200
    assert step(stage, watch).changed_keys == 0


def test_a_change_that_went_wrong_is_seen_in_the_next_step_wherever_the_sweep_is(stage: Stage) -> None:
    stage.backfill()
    watch = Watch(rows_at_most=50)
    step(stage, watch)
    stage.shop.execute("UPDATE orders_order SET note = 'changed' WHERE id = 290")
    stage.settle()
    with unseen(stage.orders):
        stage.orders.execute(f"UPDATE {ORDER} SET remark = 'lost' WHERE id = 290")
    assert step(stage, watch).swept < 0.5
    assert watch.open == 1
    with unseen(stage.orders):
        stage.orders.execute(f"UPDATE {ORDER} SET remark = 'changed' WHERE id = 290")
    step(stage, watch)
    assert (watch.open, watch.seen) == (0, True)


def test_what_was_changed_behind_the_stream_s_back_is_seen_within_a_round(stage: Stage) -> None:
    stage.backfill()
    watch = Watch(rows_at_most=100)
    one_round(stage, watch)
    assert watch.open == 0
    watch.begin_round()
    with unseen(stage.orders):
        stage.orders.execute(f"DELETE FROM {LINE} WHERE id = 400")
        stage.orders.execute(f"UPDATE {ORDER} SET total_cents = 0 WHERE id = 10")
    one_round(stage, watch)
    assert watch.open == 2


def test_more_changes_than_a_step_can_take_begin_a_new_round(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.backfill()
    watch = Watch(rows_at_most=100)
    step(stage, watch)
    monkeypatch.setattr("migration_tools.verification.watch.TOUCHED_AT_MOST", 5)
    stage.shop.execute("UPDATE orders_order SET note = 'all'")
    stage.settle()
    with unseen(stage.orders):
        stage.orders.execute(f"UPDATE {ORDER} SET remark = 'lost' WHERE id = 1")
    assert step(stage, watch).changed_keys == 0
    assert watch.open == 1, "the sweep has begun anew, at the first key"


def test_rounds_under_live_writes_stay_green_are_journalled_and_count_for_the_gate(road: Road) -> None:
    road.go("strangle_dual_write", "strangle_backfill")
    with writing(road.pair):
        result = road.run("strangle_verify", "--watch", "--rounds", "3", "--interval", "0.1", "--range-rows", "1000")
    assert result["evidence"]["rounds"] == 3
    assert result["evidence"]["changed_keys"] > 0
    assert result["evidence"]["ever"] == 0
    assert journal("round") == 3
    assert journal("diverged") == 0
    assert [v.differences for v in Verification.objects.all()] == [0, 0, 0]
    assert road.run("strangle_verify", "--runs", "1")["phase_after"] == "verify"


@pytest.mark.thorough
def test_a_watch_stops_being_green_and_is_green_again_after_the_repair(road: Road) -> None:
    road.go("strangle_dual_write", "strangle_backfill")
    road.run("strangle_verify", "--watch", "--rounds", "1", "--interval", "0")
    with unseen(road.stage.orders):
        road.stage.orders.execute(f"UPDATE {ORDER} SET total_cents = 1 WHERE id = 5")
    error = road.refused("strangle_verify", "--watch", "--rounds", "1", "--interval", "0")
    assert error.returncode == ExitCode.DIFFERENCES
    assert journal("diverged") == 1
    assert Verification.objects.latest("id").differences == 1
    assert road.run("strangle_repair")["evidence"]["repaired"] == 1
    road.run("strangle_verify", "--watch", "--rounds", "1", "--interval", "0")
    assert Verification.objects.latest("id").differences == 0


class Watching:
    """A watch in a process of its own."""

    def __init__(self, pair: Pair, *args: str):
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "strangle_verify", "orders", "--watch", "--interval", "0.1", *args],
            cwd=ROOT,
            env={**pair.environment(operator=True), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(iter(self.process.stderr.readline, ""))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def await_line(self, start: str) -> None:
        """Wait for a new line that begins so."""
        seen, deadline = len(self.lines), time.monotonic() + 30
        while not any(line.startswith(start) for line in self.lines[seen:]):
            assert time.monotonic() < deadline, self.lines[-5:]
            assert self.process.poll() is None, self.lines[-5:]
            threading.Event().wait(0.02)

    def interrupt(self) -> tuple[int, str]:
        os.kill(self.process.pid, signal.SIGINT)
        assert self.process.stdout is not None
        said = self.process.stdout.read()
        return self.process.wait(30), said


@pytest.mark.thorough
def test_ctrl_c_ends_a_watch_that_is_red_in_order(road: Road) -> None:
    """green · planted: red · the operator repairs beside it: green · planted again: red · Ctrl-C."""
    road.go("strangle_dual_write", "strangle_backfill")
    with Watching(road.pair, "--format", "text") as watching:
        watching.await_line("equal")
        spoil(road)
        watching.await_line("1 DIFFERENCES")
        repair_beside(road)
        watching.await_line("equal")
        assert journal("diverged") == journal("converged") == 1
        spoil(road)
        watching.await_line("1 DIFFERENCES")
        code, _ = watching.interrupt()
    assert code == ExitCode.DIFFERENCES


@pytest.mark.thorough
def test_ctrl_c_ends_a_watch_that_is_green_with_its_result(road: Road) -> None:
    road.go("strangle_dual_write", "strangle_backfill")
    with Watching(road.pair, "--format", "json") as watching:
        while journal("round") < 1:
            assert watching.process.poll() is None
            threading.Event().wait(0.05)
        code, said = watching.interrupt()
    assert code == ExitCode.DONE
    assert json.loads(said)["evidence"]["open"] == 0


def test_observers_hear_of_differences_once_for_each_time_they_appear_and_stop_nothing(road: Road) -> None:
    """A verification and a watch send divergence_found with the report; equal sides and a receiver's failure do not."""
    heard: list[tuple[Any, str, list[str]]] = []

    def observe(sender: Any, context: str, report: VerificationReport, **_: Any) -> None:
        heard.append((sender, context, [found.kind.value for table in report.tables for found in table.differences]))
        raise RuntimeError("an observer that fails stops nothing")

    road.go("strangle_dual_write", "strangle_backfill")
    divergence_found.connect(observe)
    try:
        road.run("strangle_verify", "--runs", "1")
        road.run("strangle_verify", "--watch", "--rounds", "1", "--interval", "0")
        assert heard == []
        spoil(road)
        assert road.refused("strangle_verify", "--runs", "1").returncode == ExitCode.DIFFERENCES
        assert heard == [(Context, "orders", ["changed"])]
        road.refused("strangle_verify", "--watch", "--rounds", "2", "--interval", "0")
        assert heard == [(Context, "orders", ["changed"])] * 2, "once when it appears, not in each step and round"
    finally:
        divergence_found.disconnect(observe)


def spoil(road: Road) -> None:
    with unseen(road.stage.orders):
        road.stage.orders.execute(f"UPDATE {ORDER} SET total_cents = 1 WHERE id = 5")


def repair_beside(road: Road) -> None:
    """Repair while a watch holds the operator's lock for each of its steps."""
    while True:
        try:
            road.run("strangle_repair")
            return
        except CommandError as error:
            assert error.returncode == ExitCode.LOCKED, error  # noqa: PT017
