"""Verification by ranges under live writes: no false alarm, no miss, resumable, with snapshots of bounded age."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from migration_tools.errors import ExitCode, Interrupted
from migration_tools.kernel import points
from migration_tools.state.models import Verification, VerificationRun, VerifiedRange
from migration_tools.stores.postgres import connect
from migration_tools.verification.report import VerificationReport
from migration_tools.verification.verify import Sides, verify
from tests.conftest import Pair
from tests.corruption import LINE, ORDER, PLANTS, plant_all, unseen
from tests.integration.test_phases import Road, road
from tests.stage import Stage, write_at_random

__all__ = ["road"]

SIGKILLED = -9

MORE_ORDERS = """
    INSERT INTO orders_order (public_id, user_id, status, total, discount, currency, note, client_reference,
        shipping_address, placed_at, updated_at)
    SELECT gen_random_uuid(), 1 + (n % 20), 'placed', n * 0.01, CASE n % 3 WHEN 0 THEN NULL ELSE 0.10 END, 'EUR',
        CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'ñ' || n END, 'more' || n,
        '{"b": [1, null, 1e400], "a": "ü"}', now(), now() FROM generate_series(1, 2000) n;
    INSERT INTO orders_orderline (order_id, product_id, quantity, unit_price)
    SELECT id, 1 + id % 10, 1, 2.00 FROM orders_order WHERE client_reference LIKE 'more%';
    ANALYZE orders_order, orders_orderline;
"""


def verify_stage(stage: Stage, **options: Any) -> VerificationReport:
    with stage.ends() as ends, connect("orders", "test reader") as reader:
        return verify(Sides(ends=ends, receiver_reader=reader, direction="forward"), **options)


def found_in(report: VerificationReport) -> dict[tuple[str, str], str]:
    return {(d.table, "/".join(d.key)): str(d.kind) for table in report.tables for d in table.differences}


@contextmanager
def two_writers(pair: Pair, seed: int) -> Iterator[None]:
    stop = threading.Event()
    threads = [threading.Thread(target=write_at_random, args=(pair, seed + n, stop)) for n in (1, 2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def touched_since(stage: Stage, position: int) -> set[tuple[str, str]]:
    """Rows that a writer has sent anew since: what was planted there may be gone."""
    rows = stage.shop.execute(
        "SELECT r.target_table, array_to_string(s.key, '/') FROM strangle_stream s JOIN strangle_relation r "
        "ON r.id = s.relation WHERE s.position > %s AND s.kind IN ('r', 'g')",
        [position],
    )
    return {(table, key) for table, key in rows}


@pytest.mark.parametrize("seed", [7, 2026])
def test_every_kind_of_corruption_is_found_under_live_writes_and_nothing_else(stage: Stage, seed: int) -> None:
    print(f"seed {seed}")
    stage.shop.execute(MORE_ORDERS)
    stage.backfill()
    keys = [row[0] for row in stage.shop.execute("SELECT id FROM orders_order WHERE client_reference LIKE 'more%'")]
    with stage.running(), two_writers(stage.pair, seed):
        clean = verify_stage(stage, rows_at_most=500)
        assert found_in(clean) == {}
        assert clean.snapshots >= 1
        position = clean.position
        planted = plant_all(stage.orders, seed, sorted(keys)[800:])
        report = verify_stage(stage, rows_at_most=500)
    found, touched = found_in(report), touched_since(stage, position)
    certain = {row: kind for row, kind in planted.items() if row not in touched}
    assert {row: kind for row, kind in found.items() if row not in planted} == {}, "a false alarm"
    assert {row: found.get(row) for row in certain} == certain, "a miss, or a wrong class"
    assert len(certain) >= len(PLANTS) >= 12
    assert set(certain.values()) >= {"missing", "extra", "changed", "precision_or_type", "orphan"}


def test_a_naive_scan_raises_an_alarm_where_the_paired_one_does_not(stage: Stage) -> None:
    """source written · naive scan of both sides · verification: the event was still under way."""
    stage.backfill()
    stage.shop.execute("UPDATE orders_order SET note = 'on its way' WHERE id < 20")
    assert len(stage.differences()) == 19, "the naive scan"
    assert verify_stage(stage).equal


def test_a_target_that_holds_an_earlier_state_has_lost_an_update(stage: Stage) -> None:
    stage.backfill()
    stage.shop.execute("UPDATE orders_order SET note = 'first' WHERE id = 9")
    stage.settle()
    stage.shop.execute("UPDATE orders_order SET note = 'second' WHERE id = 9")
    stage.settle()
    with unseen(stage.orders):
        stage.orders.execute(f"UPDATE {ORDER} SET remark = 'first' WHERE id = 9")
        stage.orders.execute(f"UPDATE {ORDER} SET remark = 'never so' WHERE id = 10")
    assert found_in(verify_stage(stage)) == {(ORDER, "9"): "lost_update", (ORDER, "10"): "changed"}


def test_ranges_cover_every_key_whatever_their_size(stage: Stage) -> None:
    stage.backfill()
    with unseen(stage.orders):
        stage.orders.execute(f"UPDATE {LINE} SET qty = qty + 1 WHERE id % 50 = 0")
        stage.orders.execute(f"UPDATE {LINE} SET id = -id WHERE id IN (3, 4)")
    expected = found_in(verify_stage(stage))
    assert len(expected) > 5
    for rows in (1_000, 97, 20):
        assert found_in(verify_stage(stage, rows_at_most=rows)) == expected


def test_no_snapshot_grows_older_than_the_setting(stage: Stage, settings: Any) -> None:
    """Each range that would not fit begins a pair of its own; a whole small context fits in one."""
    stage.backfill()
    assert verify_stage(stage).snapshots == 1
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "VERIFY_RANGE_SECONDS": 0.002}
    ranges: list[Any] = []
    report = verify_stage(stage, rows_at_most=100, on_range=ranges.append)
    assert report.equal
    assert report.snapshots == len(ranges) > 8
    assert report.position == max(each.position for each in ranges)


@pytest.mark.thorough
@pytest.mark.parametrize("point", ["verify.range_recorded", "verify.range_compared"])
def test_a_verification_killed_in_the_middle_goes_on_with_the_next_range(road: Road, point: str) -> None:
    road.go("strangle_dual_write", "strangle_backfill")
    with unseen(road.stage.orders):
        road.stage.orders.execute(f"UPDATE {ORDER} SET total_cents = 1 WHERE id = 5")
    ranges = ("--range-rows", "50")
    died = road.pair.manage("strangle_verify", "orders", *ranges, STRANGLE_POINTS=f"{point}=kill@4")
    assert died.returncode == SIGKILLED, died.stderr
    done = 4 if point == "verify.range_recorded" else 3
    before = list(VerifiedRange.objects.values_list("table", "number", "at"))
    assert len(before) == done
    assert not Verification.objects.exists(), "a run that was cut off is no evidence"
    with points.on("verify.range_recorded", lambda: _stop_before_the_end()):
        assert road.refused("strangle_verify", *ranges).returncode == ExitCode.INTERRUPTED
    assert list(VerifiedRange.objects.values_list("table", "number", "at"))[:done] == before
    assert VerifiedRange.objects.count() == done + 1
    error = road.refused("strangle_verify", *ranges)
    assert error.returncode == ExitCode.DIFFERENCES, "what an earlier part of the run found counts"
    assert "1 differences" in str(error)
    assert not VerificationRun.objects.exists()
    assert Verification.objects.get().differences == 1


def _stop_before_the_end() -> None:
    raise Interrupted("the operator went home")


@pytest.mark.thorough
def test_ranges_compared_before_a_repair_are_compared_again(road: Road) -> None:
    road.go("strangle_dual_write", "strangle_backfill")
    with unseen(road.stage.orders):
        road.stage.orders.execute(f"UPDATE {ORDER} SET total_cents = 1 WHERE id = 5")
    road.refused("strangle_verify")
    road.pair.manage("strangle_verify", "orders", "--range-rows", "50", STRANGLE_POINTS="verify.range_recorded=kill@3")
    assert VerifiedRange.objects.count() == 3
    road.run("strangle_repair")
    again = road.run("strangle_verify", "--runs", "1")
    assert again["evidence"]["differences"] == 0
    assert again["evidence"]["snapshots"] == 1, "begun anew: nothing of the old run was taken"


@pytest.mark.thorough
def test_a_run_begun_under_another_playbook_is_not_resumed(road: Road) -> None:
    road.go("strangle_dual_write", "strangle_backfill")
    road.pair.manage("strangle_verify", "orders", "--range-rows", "50", STRANGLE_POINTS="verify.range_recorded=kill@3")
    VerificationRun.objects.update(declaration="another")
    assert road.run("strangle_verify", "--runs", "1")["evidence"]["snapshots"] == 1
    road.pair.manage("strangle_verify", "orders", "--range-rows", "50", STRANGLE_POINTS="verify.range_recorded=kill@3")
    assert road.run("strangle_verify", "--runs", "1", "--restart")["evidence"]["snapshots"] == 1
