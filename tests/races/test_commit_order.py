"""Outbox rows become visible out of order: ticks number each of them once, a cursor on their ids loses some."""

import itertools
import random
import threading
from contextlib import ExitStack
from typing import Any

import pytest

from migration_tools.capture.installation import install, remove
from migration_tools.kernel import points
from migration_tools.messaging import ticks
from migration_tools.stores.postgres import connect
from tests.races.scene import NEW_EVENT, NEW_ORDER, Background, note, open_transaction, remark
from tests.stage import STREAM, Stage

# The cursor that everybody writes first: what lies behind the highest id seen so far.
NAIVE_CURSOR = """SELECT seq, kind, table_name, touched::text, extract(epoch FROM occurred_at)::float8
    FROM strangle_outbox WHERE stream = %(stream)s AND seq > (
        SELECT COALESCE(max(seq), 0) FROM strangle_outbox WHERE pg_visible_in_snapshot(xid, %(last)s::pg_snapshot))
    ORDER BY seq"""

# The rule as it is said, which no index serves.
ONE_CONDITION = """SELECT seq FROM strangle_outbox WHERE stream = %(stream)s AND (
    xid >= pg_snapshot_xmax(%(last)s::pg_snapshot)
    OR xid = ANY (ARRAY(SELECT pg_snapshot_xip(%(last)s::pg_snapshot))))"""


def lower_commits_after_higher(stage: Stage) -> None:
    """Draw a low number, let a higher one be ticked, commit the low one."""
    stage.settle()
    with open_transaction(stage) as early:
        note(early, 1, "low")
        note(stage.shop, 2, "high")
        stage.settle()
        early.commit()
    stage.settle()


def test_a_lower_number_that_commits_after_a_higher_one_was_ticked_is_not_lost(stage: Any) -> None:
    stage.backfill()
    lower_commits_after_higher(stage)
    assert stage.differences() == []
    assert remark(stage, 1) == "low"


def test_a_cursor_on_numbers_loses_the_lower_one(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticks, "TAKEN_SINCE", NAIVE_CURSOR)
    stage.backfill()
    lower_commits_after_higher(stage)
    assert [row[1][0] for row in stage.differences()] == [1]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_open_transactions_that_end_in_any_order_are_each_in_their_own_tick(stage: Any, order: tuple[int, ...]) -> None:
    stage.backfill()
    with ExitStack() as stack:
        opened = [stack.enter_context(open_transaction(stage)) for _ in order]
        for number, conn in enumerate(opened):
            note(conn, number + 1, f"of {number}")
        for number in order:
            stage.settle()
            opened[number].commit()
            stage.settle()
            assert remark(stage, number + 1) == f"of {number}"
    assert stage.differences() == []


def test_a_transaction_open_over_many_ticks_is_numbered_once(stage: Any) -> None:
    stage.settle()
    with open_transaction(stage, user="shop_owner") as slow:
        slow.execute(NEW_EVENT, ["slow"])
        for number in range(5):
            stage.shop.execute(NEW_EVENT, [str(number)])
            stage.tick()
        slow.commit()
    stage.tick()
    stage.tick()
    numbered = stage.shop.execute(
        "SELECT aggregate_id FROM strangle_stream WHERE kind = 'e' ORDER BY position"
    ).fetchall()
    assert [row[0] for row in numbered] == ["0", "1", "2", "3", "4", "slow"]


def test_a_savepoint_rolled_back_across_a_tick_leaves_the_rest_of_its_transaction(stage: Any) -> None:
    stage.backfill()
    with open_transaction(stage) as conn:
        note(conn, 1, "kept")
        with conn.transaction(force_rollback=True):
            note(conn, 2, "undone")
        stage.settle()
        with conn.transaction():
            note(conn, 3, "inner")
        conn.commit()
    stage.settle()
    assert [remark(stage, key) for key in (1, 3)] == ["kept", "inner"]
    assert remark(stage, 2) != "undone"
    assert stage.differences() == []


def test_a_rolled_back_transaction_leaves_a_gap_in_numbers_and_none_in_positions(stage: Any) -> None:
    stage.settle()
    head = stage.tick()
    with open_transaction(stage, user="shop_owner") as conn:
        conn.execute(NEW_EVENT, ["undone"])
        conn.rollback()
    stage.shop.execute(NEW_EVENT, ["kept"])
    assert stage.tick() == head + 1


def test_a_transaction_prepared_before_a_tick_and_committed_after_it_is_not_lost(stage: Any) -> None:
    stage.backfill()
    with open_transaction(stage) as conn:
        conn.tpc_begin("prepared across a tick")
        note(conn, 1, "prepared")
        conn.tpc_prepare()
        note(stage.shop, 2, "meanwhile")
        stage.settle()
        assert remark(stage, 1) != "prepared"
        conn.tpc_commit()
    stage.settle()
    assert remark(stage, 1) == "prepared"
    assert stage.differences() == []


@pytest.fixture
def bare(stage: Stage) -> Stage:
    """The stage with the source's capture taken off again."""
    with connect("default", "test") as conn:
        remove(conn, STREAM, wait=lambda _: None)
    return stage


def capture(stage: Stage, wait: Any = lambda _: None) -> None:
    """Install the source's side."""
    with connect("default", "test") as conn:
        install(conn, stage.compiled.source, wait=wait)


def test_a_transaction_prepared_before_capture_begins_is_waited_for_and_copied(bare: Any) -> None:
    waits = []
    with open_transaction(bare) as conn:
        conn.tpc_begin("prepared before capture")
        conn.execute(NEW_ORDER, ["before capture"])
        conn.tpc_prepare()

        def commit_at_the_second_wait(_: float) -> None:
            waits.append(1)
            if len(waits) == 2:
                conn.tpc_commit()

        capture(bare, commit_at_the_second_wait)
    assert len(waits) >= 2, "capture did not wait for the prepared transaction"
    bare.settle()
    bare.backfill()
    assert bare.differences() == []
    assert bare.orders.execute("SELECT count(*) FROM sales_order WHERE reference = 'before capture'").fetchone() == (1,)


def test_a_transaction_begun_before_capture_that_writes_after_it_is_captured(bare: Any) -> None:
    with open_transaction(bare) as conn:
        conn.execute("SELECT pg_current_xact_id()")
        capture(bare)
        bare.backfill()
        note(conn, 1, "late")
        bare.settle()
        conn.commit()
    bare.settle()
    assert remark(bare, 1) == "late"
    assert bare.differences() == []


def test_a_chunk_copied_while_a_transaction_is_open_gets_its_rows_from_the_stream(stage: Any) -> None:
    with open_transaction(stage) as conn:
        conn.execute(NEW_ORDER, ["open during the copy"])
        note(conn, 1, "open during the copy")
        stage.backfill()
        conn.commit()
    assert remark(stage, 1) != "open during the copy"
    stage.settle()
    assert stage.differences() == []


def test_every_event_of_writers_with_pauses_gets_one_position_in_the_order_of_its_key(stage: Any) -> None:
    """Writers hold their transactions for random times over shared keys, while ticks go on as fast as they can."""
    stop = threading.Event()
    committed: list[tuple[str, int]] = []

    def write(seed: int) -> None:
        dice = random.Random(seed)
        pause = threading.Event()
        with stage.pair.connect("shop", "shop_owner") as conn:
            for number in range(40):
                with conn.transaction():
                    key = dice.randrange(4)
                    # The row lock orders the writers of a key, as an aggregate's own row does.
                    conn.execute("UPDATE inventory_stock SET on_hand = on_hand - 1 WHERE product_id = %s", [key + 1])
                    conn.execute(NEW_EVENT, [f"{key}:{seed}:{number}"])
                    pause.wait(dice.choice([0, 0, 0.002, 0.01]))
                committed.append((str(key), seed))

    def number_all() -> int:
        heads = 0
        while not stop.is_set():
            heads = stage.tick()
        return max(heads, stage.tick())

    numbering = Background(number_all)
    writers = [Background(lambda seed=seed: write(seed)) for seed in range(4)]
    for writer in writers:
        writer.outcome()
    stop.set()
    head = numbering.outcome()
    rows = stage.shop.execute(
        "SELECT position, aggregate_id FROM strangle_stream WHERE kind = 'e' ORDER BY position"
    ).fetchall()
    assert [row[0] for row in rows] == list(range(1, head + 1))
    by_number = stage.shop.execute("SELECT aggregate_id FROM strangle_outbox WHERE kind = 'e' ORDER BY seq").fetchall()
    assert len(rows) == len(committed) == 160
    for key in "0123":
        of_key = [row[1] for row in rows if row[1].startswith(f"{key}:")]
        assert of_key == [row[0] for row in by_number if row[0].startswith(f"{key}:")]


def test_a_relay_that_dies_between_a_tick_and_its_row_leaves_no_trace(stage: Any) -> None:
    stage.settle()
    before = stage.tick()
    note(stage.shop, 1, "numbered later")

    def die() -> None:
        raise ConnectionError("the relay's connection is gone")

    with points.on("tick.before_row", die), pytest.raises(ConnectionError):
        stage.tick()
    assert stage.shop.execute("SELECT max(position) FROM strangle_stream").fetchone() in {(before,), (None,)}
    assert stage.tick() == before + 1


def test_a_look_finds_news_exactly_when_a_tick_would(stage: Any) -> None:
    dice = random.Random(7)
    stage.shop.execute(NEW_EVENT, ["the first"])
    stage.tick()
    with ExitStack() as stack, connect("default", "test") as looking:
        opened = [stack.enter_context(open_transaction(stage, user="shop_owner")) for _ in range(3)]
        seen = set()
        for number in range(60):
            conn = dice.choice(opened)
            act = dice.choice(["write", "write", "commit", "rollback"])
            if act == "write":
                conn.execute(NEW_EVENT, [str(number)])
            else:
                getattr(conn, act)()
            if dice.random() < 0.5:
                continue
            news, before = ticks.has_news(looking, STREAM), _head(stage)
            assert news == (stage.tick() > before)
            assert not ticks.has_news(looking, STREAM)
            seen.add(news)
        assert seen == {True, False}


def _head(stage: Stage) -> int:
    row = stage.shop.execute("SELECT max(base + records) FROM strangle_tick").fetchone()
    return int(row[0] or 0) if row else 0


@pytest.mark.parametrize("analyzed", [False, True], ids=["planner knows nothing", "planner knows the outbox"])
def test_what_was_numbered_long_ago_is_not_read_again(stage: Any, analyzed: bool) -> None:
    for number in range(3):
        with stage.shop.transaction():
            for _ in range(400):
                stage.shop.execute(NEW_EVENT, [f"old {number}"])
        stage.tick()
    if analyzed:
        stage.shop.execute("ANALYZE strangle_outbox, strangle_tick")
    row = stage.shop.execute("SELECT snapshot::text FROM strangle_tick ORDER BY number DESC LIMIT 1").fetchone()

    def read_in_vain(query: str) -> int:
        explain = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) " + query
        plan = [line for (line,) in stage.shop.execute(explain, {"stream": STREAM, "last": row[0]})]
        return sum(int(line.split(":")[1]) for line in plan if "Rows Removed" in line)

    assert read_in_vain(ONE_CONDITION) >= 1200
    assert read_in_vain(ticks.TAKEN_SINCE) == 0
    assert read_in_vain(ticks._NEWS) <= 1
