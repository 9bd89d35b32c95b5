"""Both ways at once: a day's random traffic ends equal and quiet; without the guards one write goes round for ever."""

import os
import random
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from migration_tools.capture import triggers
from migration_tools.capture.declaration import TableSpec
from migration_tools.capture.models import Side
from migration_tools.stores.postgres import sql
from migration_tools.transfer import sync
from tests.conftest import SMALL_SHOP, Pair
from tests.integration.test_log import THOROUGH
from tests.races.scene import NEW_ORDER, NEW_SALE, Background, until
from tests.races.test_fence import own
from tests.races.test_handover import move
from tests.stage import Stage, behind

pytestmark = pytest.mark.thorough

FENCED = "40S01"
# Orders that both sides write: whoever owns the context is let, the other is refused.
SHARED = 40
# What is written and what is refused between two hand-overs, and how many of these there are.
WRITTEN, REFUSED, LONG = (300, 10, 6) if "STRANGLE_THOROUGH" in os.environ else (150, 5, 2)
# A writer waits while this many records of its side wait for relay or consumer, so that a tail can become small enough
# for a hand-over however busy the machine is.
BEHIND = 25


@pytest.fixture(params=["triggers", pytest.param("log", marks=THOROUGH)])
def two_ways(request: Any, pair: Pair, settings: Any) -> Iterator[Stage]:
    """Both relays and both consumers, the monolith captured in either way."""
    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "SOURCES": {"orders": request.param}}
    stage = Stage(pair)
    stage.backfill()
    yield stage
    stage.close()


@dataclass
class Traffic:
    """What one writer has done, read by others while it goes on."""

    written: int = 0
    refused: int = 0


def test_a_days_traffic_on_both_sides_with_hand_overs_in_between_ends_equal_and_quiet(two_ways: Stage) -> None:
    stage, stop = two_ways, threading.Event()
    traffic = {(side, seed): Traffic() for side in ("shop", "orders") for seed in (1, 2)}
    with ExitStack() as running:
        running.enter_context(stage.running())
        running.enter_context(stage.running(reverse=True))
        running.callback(stop.set)
        working = [Background(lambda who=who: write(stage, *who, traffic[who], stop)) for who in traffic]  # type: ignore[misc]
        for turn in range(LONG):
            go_on(traffic)
            move(Side.SOURCE if turn % 2 else Side.TARGET)
        go_on(traffic)
        stop.set()
        for each in working:
            each.outcome()
        until(lambda: stage.differences() == [], "both sides are equal")
    assert rounds_with_news(stage, 6) <= 2
    assert stage.differences() == []
    assert numbered(stage) < 20 * total(traffic)[0]


def total(traffic: Mapping[Any, Traffic]) -> tuple[int, int]:
    """Writes that all of them have done, and those that were refused because the other side owns."""
    each = traffic.values()
    return sum(one.written for one in each), sum(one.refused for one in each)


def go_on(traffic: Mapping[Any, Traffic]) -> None:
    """Return when enough more was written, and refused, since now."""
    written, refused = total(traffic)
    until(
        lambda: total(traffic)[0] >= written + WRITTEN and total(traffic)[1] >= refused + REFUSED,
        f"{WRITTEN} more writes and {REFUSED} more refusals",
        seconds=60,
    )


def write(stage: Stage, side: str, seed: int, traffic: Traffic, stop: threading.Event) -> None:
    """Write at random until told to stop, no faster than it is carried over."""
    dice = random.Random(f"{side} {seed}")
    step = _shop if side == "shop" else _service
    with stage.pair.connect(side, f"{side}_app") as conn:
        while not stop.is_set():
            if behind(conn) > BEHIND:
                stop.wait(0.003)
                continue
            try:
                with conn.transaction():
                    step(conn, dice, f"{seed} {traffic.written}")
                traffic.written += 1
            except psycopg.errors.DeadlockDetected:
                continue
            except psycopg.OperationalError as error:
                assert error.sqlstate == FENCED, error  # noqa: PT017
                traffic.refused += 1
                stop.wait(0.002)


def _shop(conn: psycopg.Connection[Any], dice: random.Random, text: str) -> None:
    """The monolith's own customers and products, always; its orders, while it owns them."""
    kind = dice.random()
    if kind < 0.35:
        conn.execute("UPDATE accounts_user SET last_name = %s WHERE id = %s", [text, 1 + dice.randrange(20)])
    elif kind < 0.5:
        conn.execute("UPDATE catalog_product SET price = price + 1 WHERE id = %s", [1 + dice.randrange(10)])
    elif kind < 0.6:
        conn.execute(NEW_ORDER, [text])
    elif kind < 0.65:
        order = 100 + dice.randrange(200)
        conn.execute("DELETE FROM orders_orderline WHERE order_id = %s", [order])
        conn.execute("DELETE FROM orders_order WHERE id = %s", [order])
    else:
        conn.execute("UPDATE orders_order SET note = %s WHERE id = %s", [text, 1 + dice.randrange(SHARED)])


def _service(conn: psycopg.Connection[Any], dice: random.Random, text: str) -> None:
    """The service's orders, while it owns them."""
    kind = dice.random()
    if kind < 0.1:
        conn.execute(NEW_SALE, [text])
    elif kind < 0.2:
        conn.execute("UPDATE sales_orderitem SET qty = qty + 1 WHERE id = %s", [1 + dice.randrange(100)])
    else:
        conn.execute("UPDATE sales_order SET remark = %s WHERE id = %s", [text, 1 + dice.randrange(SHARED)])


def rounds_with_news(stage: Stage, rounds: int) -> int:
    """Let everything go to and fro so many times; how many of them numbered anything new."""
    found = 0
    for _ in range(rounds):
        before = numbered(stage)
        for reverse in (False, True):
            stage.tick(reverse=reverse)
            stage.consume(reverse=reverse)
        found += numbered(stage) > before
    return found


def numbered(stage: Stage) -> int:
    """How many records both streams have."""
    query = "SELECT COALESCE(max(base + records), 0) FROM strangle_tick"
    return sum(int(conn.execute(query).fetchone()[0]) for conn in (stage.shop, stage.orders))


@pytest.fixture
def unguarded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A sync as everybody writes it first: triggers capture whatever is written, and whatever arrives is written."""
    stage.backfill()
    own(stage, Side.TARGET, 2)
    for conn, spec in ((stage.shop, stage.compiled.source), (stage.orders, stage.compiled.target)):
        for table in spec.tables:
            if table.captured:
                capture_everything(conn, table)
    monkeypatch.setattr(sync, "accepted", lambda relations, *, owns: set(relations))
    guarded = sync.upsert_from

    def always(*args: Any) -> sql.Composed:
        text = guarded(*args).as_string()
        return sql.Composed([sql.SQL(re.sub(r" WHERE \([^?]*\) IS DISTINCT FROM \([^?]*\)$", "", text))])

    monkeypatch.setattr(sync, "upsert_from", always)
    return stage


def capture_everything(conn: psycopg.Connection[Any], table: TableSpec) -> None:
    """Put in trigger functions that do not ask who writes."""
    owner = conn.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'strangle_ownership'").fetchone()
    layout = conn.execute("SELECT max(id) FROM strangle_layout WHERE table_name = %s", [table.table]).fetchone()
    names = triggers.function_names(table)
    for event in ("ins", "upd", "del"):
        body = triggers._capture_body(
            table, event, str(owner[0]) if owner else "", layout[0] if layout else 0, "public"
        ).as_string()
        naive = re.sub(r"IF coalesce.*? THEN", "IF false THEN", body, count=1, flags=re.DOTALL)
        for statement in triggers._function(names[event], sql.Composed([sql.SQL(naive)]), "public"):
            conn.execute(statement)


def test_without_the_guards_one_write_goes_to_and_fro_for_ever(unguarded: Stage) -> None:
    rounds_with_news(unguarded, 2)
    unguarded.orders.execute("UPDATE sales_order SET remark = 'goes round' WHERE id = 1")
    assert rounds_with_news(unguarded, 8) == 8


def test_with_them_it_comes_to_rest_where_it_arrived(stage: Stage) -> None:
    stage.backfill()
    own(stage, Side.TARGET, 2)
    rounds_with_news(stage, 2)
    stage.orders.execute("UPDATE sales_order SET remark = 'goes once' WHERE id = 1")
    assert rounds_with_news(stage, 8) <= 2
    assert stage.differences() == []
