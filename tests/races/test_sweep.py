"""The sweep before a way back: what waited in the stream when it was cut must not come back after it ended."""

from typing import Any

import pytest
from django.db import IntegrityError

from migration_tools.transfer import sweep as sweeping
from migration_tools.transfer.copy import forget_checkpoints
from migration_tools.transfer.sweep import sweep
from tests.stage import STREAM, Stage

LINE = """INSERT INTO orders_orderline OVERRIDING SYSTEM VALUE
          SELECT (jsonb_populate_record(l, jsonb_build_object('id', 90001, 'order_id', %s::bigint))).*
          FROM orders_orderline l LIMIT 1"""


def cut_with_a_line_waiting(stage: Stage) -> int:
    """A line is numbered and not applied when the stream is cut; it ends while nobody captures. Returns its order."""
    stage.backfill()
    stage.settle()
    order = int(stage.shop.execute("SELECT max(id) FROM orders_order").fetchone()[0])  # type: ignore[index]
    stage.shop.execute("DELETE FROM orders_orderline WHERE order_id = %s", [order])
    stage.settle()
    stage.shop.execute(LINE, [order])
    stage.tick()
    stage.shop.execute("ALTER TABLE orders_orderline DISABLE TRIGGER USER")
    stage.shop.execute("DELETE FROM orders_orderline WHERE id = 90001")
    stage.shop.execute("ALTER TABLE orders_orderline ENABLE TRIGGER USER")
    return order


def swept_and_then_ended(stage: Stage, order: int) -> None:
    """Sweep, let the consumer go on, and end the order, captured again."""
    with stage.ends() as ends:
        forget_checkpoints(ends.receiver, STREAM)
        sweep(ends)
    stage.consume()
    stage.shop.execute("DELETE FROM orders_order WHERE id = %s", [order])
    stage.tick()
    stage.consume()


def test_a_line_numbered_before_the_cut_and_ended_in_it_stays_ended_after_the_sweep(stage: Any) -> None:
    swept_and_then_ended(stage, cut_with_a_line_waiting(stage))
    stage.backfill()
    assert stage.differences() == []


def test_a_sweep_that_lets_waiting_rows_be_applied_after_it_leaves_a_stream_that_fails_for_good(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the fault matrix's seed 4 found in the rollback of a decommission."""
    order = cut_with_a_line_waiting(stage)
    monkeypatch.setattr(sweeping, "pass_over_rows", lambda *_: None)
    with pytest.raises(IntegrityError, match="violates foreign key"):
        swept_and_then_ended(stage, order)
    with pytest.raises(IntegrityError, match="violates foreign key"):
        stage.consume()
