"""A chunk between writes: whatever happens between its tick and its commit, the newest state of every key wins."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from migration_tools.kernel import points
from migration_tools.kernel.locks import LockClass
from migration_tools.messaging.inbox import apply_batch
from migration_tools.messaging.stream import read_batch
from migration_tools.stores.postgres import connect
from migration_tools.transfer import copy
from migration_tools.transfer.copy import CopyRun, copy_relation, whole_relations
from migration_tools.transfer.stops import Ends, Stop
from migration_tools.transfer.sync import TableWriter
from tests.races.scene import (
    NEW_ORDER,
    Background,
    note,
    put_again,
    remark,
    remove,
    renumber,
    swap,
    there_again,
    until,
    waiters,
)
from tests.stage import STREAM, Stage

MOMENTS = ["stop.drained", "copy.rows_written", "copy.before_commit", "copy.after_commit"]

# What happens to keys that the chunk holds (ids 1 to 25), and to keys around it.
CHANGES: dict[str, Callable[[Any], None]] = {
    "update": lambda shop: note(shop, 5, "newer"),
    "delete": lambda shop: remove(shop, 5),
    "delete and insert again": lambda shop: put_again(shop, 5),
    "delete and insert under a new key": lambda shop: put_again(shop, 5, new_id=9_005),
    "key change out of the chunk": lambda shop: renumber(shop, 5, 9_005),
    "key change into the chunk": lambda shop: (remove(shop, 6), renumber(shop, 200, 6)),
    "swap of unique values": lambda shop: swap(shop, 5, 6),
    "swap with a row not copied yet": lambda shop: swap(shop, 5, 200),
}


def write(stage: Stage, change: str) -> None:
    """Make one of CHANGES on the source."""
    CHANGES[change](stage.shop)


def chunks(ends: Ends) -> Iterator[CopyRun]:
    """The copies of all projections, parents first."""
    for relation in whole_relations(ends.sender, STREAM):
        yield copy_relation(ends, relation, "test")


def copy_with(stage: Stage, moment: str, action: Callable[[], None], *, chunk: int = 1) -> None:
    """Copy everything; at `moment` of the n-th chunk of orders do `action`."""
    with stage.ends() as ends:
        for run in chunks(ends):
            number = 0
            while True:
                number += 1
                armed = run.relation.target_table == "sales_order" and number == chunk
                with points.on(moment, action if armed else lambda: None):
                    if next(run, None) is None:
                        break


@pytest.mark.usefixtures("few_rows_a_chunk")
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_between_a_chunks_tick_and_its_commit_is_not_overwritten(stage: Any, change: str) -> None:
    """The change is made, ticked and tried to be applied while the chunk, read before it, is not committed."""
    for moment in MOMENTS:
        _begin_anew(stage)
        applying: list[Background] = []

        def change_and_apply(applying: list[Background] = applying) -> None:
            write(stage, change)
            stage.tick()
            applying.append(Background(stage.consume))
            until(
                lambda: waiters(stage.orders, LockClass.GATE) == 1 or not applying[0].running(),
                "the consumer waits for the chunk",
            )

        copy_with(stage, moment, change_and_apply)
        applying[0].outcome()
        stage.settle()
        assert stage.differences() == [], moment


def _begin_anew(stage: Stage) -> None:
    """Forget the copy and bring orders 5, 6 and 200 back if a change took them away."""
    with stage.orders.transaction():
        stage.orders.execute("SELECT set_config('strangle.applying', 'row', true)")
        stage.orders.execute("DELETE FROM sales_orderitem")
        stage.orders.execute("DELETE FROM sales_order")
        stage.orders.execute("DELETE FROM strangle_copied_range")
    remove(stage.shop, 9_005)
    there_again(stage.shop, 5, 6, 200)
    stage.settle()


@pytest.mark.usefixtures("few_rows_a_chunk")
def test_rows_that_events_put_ahead_of_the_chunk_are_merged_and_the_others_copied_straight_in(stage: Any) -> None:
    """Of three rows that are there one is right, one stale and one a stranger; nothing else of the chunk is."""
    for order in (3, 4, 5):
        note(stage.shop, order, "early")
    stage.settle()
    with stage.orders.transaction():
        stage.orders.execute("SELECT set_config('strangle.applying', 'row', true)")
        stage.orders.execute("UPDATE sales_order SET remark = 'stale' WHERE id = 4")
        stage.orders.execute("UPDATE sales_order SET id = 0 WHERE id = 5")
    right = "SELECT xmin::text FROM sales_order WHERE id = 3"
    before = stage.orders.execute(right).fetchone()
    with stage.ends() as ends:
        first = next(next(chunks(ends)))
    assert first.rows == stage.orders.execute("SELECT count(*) FROM sales_order").fetchone()[0]
    assert stage.orders.execute(right).fetchone() == before
    assert stage.orders.execute("SELECT count(*) FROM sales_order WHERE id = 0").fetchone() == (0,)
    assert [remark(stage, order) for order in (3, 4, 5)] == ["early"] * 3
    stage.backfill()
    assert stage.differences() == []


@contextmanager
def not_stopped(ends: Ends, **_: Any) -> Iterator[Stop]:
    """Copy in some snapshot of the source, beside a consumer that goes on: what one writes first."""
    ends.reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    ends.reader.execute("SELECT 1")
    try:
        points.reached("stop.drained")
        yield Stop(position=0, drained=0)
    finally:
        ends.reader.execute("ROLLBACK")


@pytest.mark.usefixtures("few_rows_a_chunk")
@pytest.mark.parametrize("change", ["update", "delete", "delete and insert again"])
def test_a_chunk_copied_without_the_stop_overwrites_the_change(
    stage: Any, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy, "stopped_at_tick", not_stopped)

    def change_and_apply() -> None:
        write(stage, change)
        stage.settle()

    with stage.ends() as ends:
        run = next(chunks(ends))
        with points.on("stop.drained", change_and_apply):
            next(run)
    stage.settle()
    copied = {row[0]: row[1:] for row in stage.orders.execute("SELECT id, remark FROM sales_order WHERE id <= 25")}
    original = {row[0]: row[1:] for row in stage.shop.execute("SELECT id, note FROM orders_order WHERE id <= 25")}
    assert copied != original


@pytest.mark.usefixtures("few_rows_a_chunk")
@pytest.mark.parametrize("change", CHANGES)
def test_events_applied_before_and_after_a_chunk_leave_the_newest_state(stage: Any, change: str) -> None:
    """Some events of the keys are applied before their chunk, the last ones after it."""
    note(stage.shop, 5, "before the chunk")
    note(stage.shop, 200, "before the chunk")
    stage.settle()
    copy_with(stage, "copy.after_commit", lambda: write(stage, change), chunk=2)
    stage.settle()
    assert stage.differences() == []


@pytest.mark.usefixtures("few_rows_a_chunk")
def test_an_event_numbered_before_a_chunk_and_delivered_after_it_does_not_go_backwards(stage: Any) -> None:
    """The chunk's stop applies what is numbered; the consumer's own batch of the same events comes late and twice."""
    with connect("default", "test") as conn:
        note(stage.shop, 5, "first")
        stage.tick()
        late = read_batch(conn.cursor(), STREAM, origin="monolith", after=0, limit=1_000)
        note(stage.shop, 5, "second")
        stage.backfill()
        assert remark(stage, 5) == "second"
        for _ in range(2):
            apply_batch(late, TableWriter(), using="orders")
        assert remark(stage, 5) == "second"
    stage.settle()
    assert stage.differences() == []


@pytest.mark.usefixtures("few_rows_a_chunk")
def test_a_child_changed_before_its_parent_is_copied_arrives_with_its_chunk(stage: Any) -> None:
    stage.shop.execute("UPDATE orders_orderline SET quantity = 99 WHERE order_id = 250")
    stage.settle()
    assert stage.orders.execute("SELECT count(*) FROM sales_orderitem").fetchone() == (0,)
    stage.backfill()
    stage.settle()
    assert stage.differences() == []
    assert stage.orders.execute("SELECT count(*) FROM sales_orderitem WHERE qty = 99").fetchone() != (0,)


@pytest.mark.usefixtures("few_rows_a_chunk")
def test_a_child_moved_to_a_parent_not_copied_yet_arrives_with_its_chunk(stage: Any) -> None:
    """And one moved to a parent that is, between the parents' chunks and its own."""

    def move() -> None:
        stage.shop.execute("UPDATE orders_orderline SET order_id = 299 WHERE order_id = 1")
        stage.shop.execute("UPDATE orders_orderline SET order_id = 2 WHERE order_id = 298")

    applying: list[Background] = []

    def move_and_apply() -> None:
        move()
        stage.tick()
        applying.append(Background(stage.consume))

    copy_with(stage, "copy.before_commit", move_and_apply, chunk=3)
    applying[0].outcome()
    stage.settle()
    assert stage.differences() == []


def test_the_end_of_a_former_parent_is_not_held_up_by_a_child_whose_new_parent_is_not_copied(stage: Any) -> None:
    """The child is here by an event, moves to a parent that is not, and then its former parent is deleted."""
    stage.settle()
    new = stage.shop.execute(NEW_ORDER, ["former parent"]).fetchone()[0]
    stage.shop.execute("UPDATE orders_orderline SET order_id = %s WHERE order_id = 5", [new])
    stage.settle()
    stage.shop.execute("UPDATE orders_orderline SET order_id = 6 WHERE order_id = %s", [new])
    stage.settle()
    remove(stage.shop, new)
    stage.settle()
    stage.backfill()
    stage.settle()
    assert stage.differences() == []


@pytest.mark.usefixtures("few_rows_a_chunk")
def test_a_parent_deleted_with_its_children_between_their_chunks_stays_deleted(stage: Any) -> None:
    with stage.ends() as ends:
        for run in chunks(ends):
            for chunk in run:
                if chunk.projection == "sales_order" and chunk.done:
                    remove(stage.shop, 5)
                    remove(stage.shop, 300)
                    stage.settle()
                elif chunk.projection == "sales_orderitem" and chunk.total_rows == chunk.rows:
                    remove(stage.shop, 6)
                    put_again(stage.shop, 299)
                    stage.settle()
    stage.settle()
    assert stage.differences() == []


@pytest.mark.usefixtures("few_rows_a_chunk")
def test_a_copy_begun_anew_in_the_middle_beside_writes_ends_equal(stage: Any) -> None:
    with stage.ends() as ends:
        run = next(chunks(ends))
        for _ in range(4):
            next(run)
        for change in CHANGES:
            write(stage, change)
            remove(stage.shop, 9_005)
            there_again(stage.shop, 5, 6, 200)
            stage.tick()
        ends.receiver.execute("DELETE FROM strangle_copied_range")
    stage.backfill()
    stage.settle()
    assert stage.differences() == []


@pytest.mark.usefixtures("few_rows_a_chunk")
def test_a_chunk_does_not_wait_for_the_disk_and_the_last_one_does(stage: Stage) -> None:
    """See Note [chunks are durable with the last one]; what the sync applies in between is as durable as ever."""
    with stage.ends() as ends:

        def waits() -> str:
            row = ends.receiver.execute("SELECT current_setting('synchronous_commit')").fetchone()
            return str(row[0]) if row else ""

        ends.receiver.execute("SET synchronous_commit = on")
        found: list[str] = []
        run = next(each for each in chunks(ends) if each.relation.target_table == "sales_order")
        with points.on("copy.before_commit", lambda: found.append(waits())):
            assert len(list(run)) == len(found)
        afterwards = waits()
    assert (set(found[:-1]), found[-1], afterwards) == ({"off"}, "on", "on")
