"""Ranges of one stop copied beside each other: what may come between them, and between a piece and its stop."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import psycopg
import pytest

from migration_tools.errors import PositionMoved
from migration_tools.kernel import points
from migration_tools.stores.postgres import connect, transaction
from migration_tools.transfer import copy, pieces
from migration_tools.transfer.copy import copy_relation, whole_relations
from migration_tools.transfer.pieces import Outcome, Piece, copy_piece, read_target, replace_range
from migration_tools.transfer.ranges import KeyRange
from migration_tools.transfer.stops import Ends, stopped_at_tick
from migration_tools.transfer.workers import threads
from tests.races.scene import Background, note, put_again, remark, remove, renumber, swap, until
from tests.stage import STREAM, Stage, write_at_random

ROUNDS = int(os.environ.get("PIECE_ROUNDS", "3"))


def unfenced(reader: Any, receiver: Any, piece: Piece) -> Outcome:
    """A piece that trusts its stop to last: what one writes first."""
    with transaction(receiver), pieces._on_snapshot(reader, piece):
        points.reached("piece.begun")
        shape = read_target(receiver, piece.relation)
        return Outcome(
            keys=piece.keys, piped=replace_range(reader, receiver, piece.stream, piece.relation, shape, piece.keys)
        )


@contextmanager
def a_piece(stage: Stage, *, dies: bool = False) -> Iterator[tuple[Ends, Piece]]:
    """A stop, and a piece of it with the first orders; one that `dies` is not expected to end in order."""
    orderly = suppress(psycopg.OperationalError) if dies else nullcontext()
    with orderly, stage.ends() as ends, stopped_at_tick(ends) as stop:
        snapshot = ends.reader.execute("SELECT pg_export_snapshot()").fetchone()
        relation = next(r for r in whole_relations(ends.sender, STREAM) if r.target_table == "sales_order")
        yield (
            ends,
            Piece(
                stream=STREAM,
                relation=relation,
                keys=KeyRange(after=None, upto=("25",)),
                position=stop.position,
                snapshot=snapshot[0],
            ),
        )


def copy_while_its_stop_ends(stage: Stage, work_on: Any) -> None:
    """The stop's holder dies while a piece has begun; order 5 is deleted and that is applied; the piece goes on."""
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go_on.wait(20)

    def work(piece: Piece) -> None:
        with connect("default", "piece") as reader, connect("orders", "piece") as receiver:
            work_on(reader, receiver, piece)

    with points.on("piece.begun", wait), a_piece(stage, dies=True) as (ends, piece):
        copying = Background(lambda: work(piece))
        until(begun.is_set, "the piece has begun")
        pids = [conn.info.backend_pid for conn in (ends.receiver, ends.sender)]
        stage.orders.execute("SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s::int[]) pid", [pids])
        remove(stage.shop, 5)
        stage.tick()
        applying = Background(stage.consume)
        until(lambda: blocked(stage) or not applying.running(), "the consumer waits for the piece, or is through")
        go_on.set()
        copying.outcome()
        applying.outcome()


def blocked(stage: Stage) -> bool:
    """Whether a session waits for the inbox row."""
    found = stage.orders.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    ).fetchone()
    return found != (0,)


def test_a_piece_whose_stop_was_killed_ends_before_anything_newer_is_applied(stage: Any) -> None:
    stage.settle()
    copy_while_its_stop_ends(stage, copy_piece)
    stage.settle()
    assert remark(stage, 5) == "absent"


def test_an_unfenced_piece_whose_stop_was_killed_brings_a_deleted_row_back(stage: Any) -> None:
    stage.settle()
    copy_while_its_stop_ends(stage, unfenced)
    stage.settle()
    assert remark(stage, 5) != "absent"


def test_a_piece_that_comes_after_an_apply_is_dropped(stage: Any) -> None:
    stage.settle()
    with a_piece(stage) as (_, piece):
        pass
    note(stage.shop, 5, "newer")
    stage.settle()
    with (
        connect("default", "piece") as reader,
        connect("orders", "piece") as receiver,
        pytest.raises(PositionMoved, match="is over"),
    ):
        copy_piece(reader, receiver, piece)


def test_a_piece_whose_snapshot_is_gone_is_dropped(stage: Any) -> None:
    stage.settle()
    with a_piece(stage) as (_, piece):
        pass
    with (
        connect("default", "piece") as reader,
        connect("orders", "piece") as receiver,
        pytest.raises(PositionMoved, match="snapshot is gone"),
    ):
        copy_piece(reader, receiver, piece)


def copy_all(stage: Stage, workers: int) -> int:
    """Copy every projection to its end with a crew; returns how many rows."""
    rows = 0
    with stage.ends() as ends, threads("default", "orders", workers - 1) as crew:
        for relation in whole_relations(ends.sender, STREAM):
            for chunk in copy_relation(ends, relation, "test", crew=crew):
                rows += chunk.rows
    return rows


@pytest.mark.usefixtures("few_rows_a_chunk")
@pytest.mark.parametrize("moment", ["piece.begun", "piece.rows_written", "piece.committed", "copy.before_commit"])
def test_changes_while_pieces_are_copied_are_not_overwritten(stage: Any, moment: str) -> None:
    """Every kind of change at once, made and ticked while two other pieces of the same chunk are at `moment`."""
    once = threading.Lock()
    applying: list[Background] = []

    def change_and_apply() -> None:
        if once.acquire(blocking=False):
            note(stage.shop, 7, "newer")
            remove(stage.shop, 8)
            remove(stage.shop, 60)
            put_again(stage.shop, 9)
            put_again(stage.shop, 30, new_id=9_030)
            renumber(stage.shop, 31, 9_031)
            swap(stage.shop, 12, 13)
            swap(stage.shop, 14, 40)
            swap(stage.shop, 15, 200)
            note(stage.shop, 290, "newer")
            stage.tick()
            applying.append(Background(stage.consume))

    with points.on(moment, change_and_apply):
        copy_all(stage, 3)
    applying[0].outcome()
    stage.settle()
    assert stage.differences() == []


@pytest.mark.usefixtures("few_rows_a_chunk")
def test_a_unique_value_that_a_wrong_row_of_another_piece_holds_is_taken_afterwards(stage: Any) -> None:
    """A row that an operator adopted is wrong: order 5, of the first piece, has the public id of order 30."""
    copy_all(stage, 1)
    right = stage.shop.execute("SELECT public_id FROM orders_order WHERE id = 30").fetchone()
    with stage.orders.transaction():
        stage.orders.execute("SELECT set_config('strangle.applying', 'row', true)")
        stage.orders.execute("DELETE FROM sales_orderitem")
        stage.orders.execute("DELETE FROM sales_order WHERE id = 30")
        stage.orders.execute("UPDATE sales_order SET public_id = %s WHERE id = 5", right)
        stage.orders.execute("DELETE FROM strangle_copied_range")
    copy_all(stage, 3)
    stage.settle()
    assert stage.differences() == []


def test_copies_by_three_workers_beside_a_writer_relay_and_consumer_end_equal(
    stage: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy, "FIRST_ROWS", 60)
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "CHUNK_ROWS_MAXIMUM": 150}
    stop = threading.Event()
    with stage.running():
        writer = Background(lambda: write_at_random(stage.pair, 1, stop))
        try:
            for _ in range(ROUNDS):
                copy_all(stage, 3)
                stage.orders.execute("DELETE FROM strangle_copied_range")
        finally:
            stop.set()
        writer.outcome()
    stage.settle()
    copy_all(stage, 3)
    assert stage.differences() == []
