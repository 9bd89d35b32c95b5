"""Hand-overs against writers: who is in the way is not cut off, who comes late is refused, and no row is lost."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from migration_tools.capture.models import Side
from migration_tools.errors import FenceBusy
from migration_tools.kernel import points
from migration_tools.kernel.locks import LockClass
from migration_tools.messaging.lag import consumers
from migration_tools.phases import handover
from migration_tools.phases.handover import SMALL_TAIL, HandOver, hand_over
from migration_tools.phases.surroundings import surroundings
from migration_tools.playbook.registry import get
from tests import stage as stages
from tests.races.scene import NEW_ORDER, NEW_SALE, Background, open_transaction, until, waiters
from tests.stage import STREAM, Stage

FENCED = "40S01"


@pytest.fixture
def live(stage: Stage) -> Iterator[Stage]:
    """Copied, with relays and consumers of both directions running."""
    with stage.running(), stage.running(reverse=True):
        stage.backfill()
        yield stage


def move(to: Side, said: list[str] | None = None) -> HandOver:
    """Hand over as the command does."""
    with surroundings(get(STREAM), purpose="test", say=(said if said is not None else []).append) as env:
        return hand_over(env, to)


def both(stage: Stage, reference: str) -> tuple[int, int]:
    """How often a reference is on each side."""
    ours = stage.shop.execute("SELECT count(*) FROM orders_order WHERE client_reference = %s", [reference]).fetchone()
    theirs = stage.orders.execute("SELECT count(*) FROM sales_order WHERE reference = %s", [reference]).fetchone()
    return ours[0], theirs[0]


def arrived(stage: Stage) -> None:
    """Wait until both sides are equal, as they must become by themselves."""
    until(lambda: stage.differences() == [], "both sides are equal")


def test_a_writer_in_an_open_transaction_makes_the_hand_over_step_back_until_it_ends(live: Any) -> None:
    said: list[str] = []
    with open_transaction(live) as writer:
        writer.execute(NEW_ORDER, ["in the way"])
        moving = Background(lambda: move(Side.TARGET, said))
        until(lambda: sum("stepping back" in line for line in said) >= 3, "the hand-over stepped back three times")
        with live.pair.connect("shop", "shop_app") as other:
            other.execute(NEW_ORDER, ["others write on meanwhile"])
        assert moving.running()
        writer.commit()
        result = moving.outcome()
    assert result.attempts > 3
    arrived(live)
    assert both(live, "in the way") == (1, 1)
    assert both(live, "others write on meanwhile") == (1, 1)


def test_a_consumer_whose_receipts_come_once_a_second_does_not_keep_the_hand_over_waiting(
    stage: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is with a broker: by its receipts the consumer is always a second's records behind."""
    told: dict[str, float] = {}
    note_receipt = stages.note_receipt

    def late(cursor: Any, stream: str, consumer: str, position: int) -> None:
        if time.monotonic() - told.get(stream, 0.0) > 1.0:
            told[stream] = time.monotonic()
            note_receipt(cursor, stream, consumer, position)

    monkeypatch.setattr(stages, "note_receipt", late)
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "CUTOVER_BUDGET_SECONDS": 20}
    stop = threading.Event()
    with stage.running(), stage.running(reverse=True):
        stage.backfill()
        writing = Background(lambda: write_steadily(stage, stop))
        until(lambda: lags(stage) > 2 * SMALL_TAIL, "a second's records are more than a small tail")
        move(Side.TARGET)
        stop.set()
        writing.outcome()
        arrived(stage)


def write_steadily(stage: Stage, stop: threading.Event) -> None:
    """Some hundred records a second, until told to stop or refused."""
    with stage.pair.connect("shop", "shop_app") as conn:
        while not stop.wait(0.02):
            try:
                conn.execute("UPDATE orders_order SET note = clock_timestamp()::text WHERE id <= 8")
            except psycopg.OperationalError as error:
                assert error.sqlstate == FENCED, error  # noqa: PT017
                return


def lags(stage: Stage) -> int:
    """How far the consumer is behind by its receipts."""
    return max((each.events for each in consumers(stage.shop, STREAM)), default=0)


def test_a_writer_that_never_ends_leaves_the_old_owner_writing(live: Any, settings: Any) -> None:
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "CUTOVER_BUDGET_SECONDS": 0.5}
    with open_transaction(live) as writer:
        writer.execute(NEW_ORDER, ["stubborn"])
        with pytest.raises(FenceBusy, match=r"role shop_app.*nothing was changed"):
            move(Side.TARGET)
        writer.execute(NEW_ORDER, ["stubborn"])
        writer.commit()
    arrived(live)
    assert both(live, "stubborn") == (2, 2)


def test_a_prepared_transaction_in_the_way_is_named_as_such(live: Any, settings: Any) -> None:
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "CUTOVER_BUDGET_SECONDS": 0.3}
    with open_transaction(live) as writer:
        writer.tpc_begin("forgotten")
        writer.execute(NEW_ORDER, ["forgotten"])
        writer.tpc_prepare()
        with pytest.raises(FenceBusy, match=r"in the way is a prepared transaction.*pg_prepared_xacts"):
            move(Side.TARGET)
        writer.tpc_rollback()
    move(Side.TARGET)


@pytest.mark.parametrize("level", [None, psycopg.IsolationLevel.REPEATABLE_READ], ids=["committed", "repeatable"])
def test_a_writer_that_waits_at_the_lock_is_refused_after_the_cutover(live: Any, level: Any) -> None:
    late: list[Background] = []

    def write() -> None:
        with live.pair.connect("shop", "shop_app") as conn:
            conn.autocommit = False
            conn.isolation_level = level
            conn.execute("SELECT count(*) FROM orders_order")
            conn.execute(NEW_ORDER, ["too late"])
            conn.commit()

    def begin_to_write() -> None:
        late.append(Background(write))
        until(lambda: waiters(live.shop, LockClass.FENCE) == 1, "the writer waits at the lock")

    with points.on("handover.drained", begin_to_write):
        move(Side.TARGET)
    with pytest.raises(psycopg.OperationalError) as caught:
        late[0].outcome()
    assert caught.value.sqlstate == FENCED
    arrived(live)
    assert both(live, "too late") == (0, 0)


def test_a_writer_that_waits_at_the_lock_goes_on_when_the_hand_over_fails(live: Any) -> None:
    waiting: list[Background] = []

    def write() -> None:
        with live.pair.connect("shop", "shop_app") as conn:
            conn.execute(NEW_ORDER, ["patient"])

    def fail() -> None:
        waiting.append(Background(write))
        until(lambda: waiters(live.shop, LockClass.FENCE) == 1, "the writer waits at the lock")
        raise ConnectionError("the operator's terminal is gone")

    with points.on("handover.before_close", fail), pytest.raises(ConnectionError):
        move(Side.TARGET)
    waiting[0].outcome()
    arrived(live)
    assert both(live, "patient") == (1, 1)


def test_a_write_committed_while_the_tail_is_drained_is_in_the_drain(live: Any) -> None:
    """The last commit before the lock is had is applied behind it, by the hand-over itself."""
    with open_transaction(live) as writer:
        writer.execute(NEW_ORDER, ["last of all"])
        moving = Background(lambda: move(Side.TARGET))
        until(lambda: waiters(live.shop, LockClass.FENCE) == 1, "the hand-over asks for the lock")
        writer.commit()
        result = moving.outcome()
    assert result.position > 0
    assert both(live, "last of all") == (1, 1)


def test_without_the_lock_a_write_in_flight_is_lost(live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The naive hand-over: it closes the owner's flag, but does not wait for who has passed it."""
    monkeypatch.setattr(handover.advisory, "take", lambda *_: None)
    with open_transaction(live) as writer:
        writer.execute("UPDATE orders_order SET note = 'acknowledged' WHERE id = 1")
        move(Side.TARGET)
        with live.pair.connect("orders", "orders_app") as owner:
            owner.execute("UPDATE sales_order SET remark = 'of the new owner' WHERE id = 1")
        writer.commit()
    until(lambda: _notes(live) == ("of the new owner", "of the new owner"), "the new owner's value is on both sides")


def _notes(stage: Stage) -> tuple[str, str]:
    ours = stage.shop.execute("SELECT note FROM orders_order WHERE id = 1").fetchone()
    theirs = stage.orders.execute("SELECT remark FROM sales_order WHERE id = 1").fetchone()
    return ours[0], theirs[0]


def test_keys_drawn_to_and_fro_are_never_drawn_twice(live: Any) -> None:
    """Also keys drawn and given back, drawn by hand for later, and cached by a session that outlives two cutovers."""
    live.shop.execute("ALTER SEQUENCE orders_order_id_seq CACHE 20")
    live.orders.execute("ALTER SEQUENCE sales_order_id_seq CACHE 20")
    drawn: list[int] = []
    apps = {
        Side.SOURCE: live.pair.connect("shop", "shop_app"),
        Side.TARGET: live.pair.connect("orders", "orders_app"),
    }
    statements = {Side.SOURCE: NEW_ORDER, Side.TARGET: NEW_SALE}
    sequences = {Side.SOURCE: "orders_order_id_seq", Side.TARGET: "sales_order_id_seq"}
    try:
        for turn in range(6):
            side = Side.TARGET if turn % 2 else Side.SOURCE
            if turn:
                move(side)
            for conn in (apps[side], live.pair.connect("shop" if side is Side.SOURCE else "orders")):
                for number in range(3):
                    drawn.append(conn.execute(statements[side], [f"{turn}.{number}"]).fetchone()[0])
                with conn.transaction(force_rollback=True):
                    drawn.append(conn.execute(statements[side], ["given back"]).fetchone()[0])
                drawn.append(conn.execute("SELECT nextval(%s)", [sequences[side]]).fetchone()[0])
                if conn is not apps[side]:
                    conn.close()
    finally:
        for conn in apps.values():
            conn.close()
    assert len(drawn) == len(set(drawn)) == 60
    arrived(live)


def test_the_service_that_owns_drops_a_column_of_its_own_and_who_follows_it_is_unaffected(live: Any) -> None:
    live.orders.execute("ALTER TABLE sales_order ADD COLUMN own_note text DEFAULT 'ours'")
    move(Side.TARGET)
    with live.pair.connect("orders", "orders_app") as app:
        wide = app.execute(NEW_SALE, ["wide"]).fetchone()[0]
        until(lambda: both(live, "wide") == (1, 1), "the monolith follows")
        live.orders.execute("ALTER TABLE sales_order DROP COLUMN own_note")
        app.execute(NEW_SALE, ["narrow"])
        app.execute("UPDATE sales_order SET remark = 'and on' WHERE id = %s", [wide])
    until(lambda: both(live, "narrow") == (1, 1), "the monolith still follows")
    note = "SELECT note FROM orders_order WHERE id = %s"
    until(lambda: live.shop.execute(note, [wide]).fetchone() == ("and on",), "changes of older rows too")


def test_without_moving_the_sequences_keys_are_drawn_twice(live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_advance_sequences", lambda *_: None)
    move(Side.TARGET)
    with live.pair.connect("orders", "orders_app") as app, pytest.raises(psycopg.errors.UniqueViolation):
        app.execute(NEW_SALE, ["drawn again"])


class Writer:
    """Inserts on one side all the time, remembers what was acknowledged and what was refused."""

    def __init__(self, stage: Stage, side: str, statement: str, stop: threading.Event):
        self.stage, self.side, self.statement, self.stop = stage, side, statement, stop
        self.acknowledged: list[str] = []
        self.refused: list[str] = []

    def run(self) -> None:
        """Write until told to stop."""
        number = 0
        with self.stage.pair.connect(self.side, f"{self.side}_app") as conn:
            while not self.stop.wait(0.002):
                number += 1
                reference = f"{self.side} {id(self)} {number}"
                try:
                    conn.execute(self.statement, [reference])
                except psycopg.OperationalError as error:
                    assert error.sqlstate == FENCED, error  # noqa: PT017
                    self.refused.append(reference)
                else:
                    self.acknowledged.append(reference)


def test_over_many_hand_overs_every_acknowledged_write_is_on_both_sides_and_no_refused_one(live: Any) -> None:
    stop = threading.Event()
    writers = [Writer(live, "shop", NEW_ORDER, stop) for _ in range(2)]
    writers += [Writer(live, "orders", NEW_SALE, stop) for _ in range(2)]
    working = [Background(each.run) for each in writers]
    for turn in range(4):
        counts = [len(each.acknowledged) for each in writers]
        side = Side.SOURCE if turn % 2 else Side.TARGET
        move(side)
        new = writers[:2] if side is Side.SOURCE else writers[2:]
        until(
            lambda counts=counts, new=new: all(len(w.acknowledged) >= counts[writers.index(w)] + 5 for w in new),
            "the new owner's writers write",
        )
    stop.set()
    for each in working:
        each.outcome()
    until(lambda: _references(live, "shop") == _references(live, "orders"), "everything has arrived")
    expected = sorted(reference for each in writers for reference in each.acknowledged)
    assert sorted(_references(live, "shop")) == expected
    assert all(each.refused for each in writers)


def _references(stage: Stage, side: str) -> list[str]:
    if side == "shop":
        query = "SELECT client_reference FROM orders_order WHERE client_reference ~ '^(shop|orders) ' ORDER BY 1"
        return [row[0] for row in stage.shop.execute(query)]
    return [
        row[0]
        for row in stage.orders.execute(
            "SELECT reference FROM sales_order WHERE reference ~ '^(shop|orders) ' ORDER BY 1"
        )
    ]
