"""Two relays at once: whatever becomes of their locks, no outbox row gets two positions or none."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from migration_tools.capture.projector import RelationProjector
from migration_tools.kernel import points
from migration_tools.kernel.locks import LockClass
from migration_tools.messaging import relay as relays
from migration_tools.messaging.relay import Relay, tick
from migration_tools.stores.postgres import advisory, connect, errors
from migration_tools.transfer.sync import TableWriter
from tests.races.scene import NEW_EVENT, Background, note, until, waiters
from tests.stage import STREAM, DirectFeed, Stage

NUMBERED_EVENT = """INSERT INTO strangle_outbox (stream, kind, event_id, event_type, event_version, aggregate_type,
    aggregate_id, payload, metadata, occurred_at)
    VALUES (%s, 'e', gen_random_uuid(), 'race.happened', 1, 'race', %s, jsonb_build_object('number', %s::int), '{}',
        now())"""


def numbered(stage: Stage) -> list[str]:
    """Which events got a position, in their order; asserts that positions are dense."""
    rows = stage.shop.execute("SELECT position, kind, aggregate_id FROM strangle_stream ORDER BY position")
    found = rows.fetchall()
    assert [row[0] for row in found] == list(range(1, len(found) + 1))
    return [row[2] for row in found if row[1] == "e"]


def tick_in_background(stage: Stage) -> Background:
    """One tick by a session of its own, as a relay makes it."""

    def work() -> int:
        with connect("default", "a second relay") as conn:
            return tick(conn, STREAM, RelationProjector()).head

    return Background(work)


def test_a_second_tick_begun_before_the_first_commits_waits_and_takes_only_what_is_new(stage: Any) -> None:
    stage.tick()
    stage.shop.execute(NEW_EVENT, ["first"])
    second: list[Background] = []

    def start_another() -> None:
        if not second:
            second.append(tick_in_background(stage))
            until(lambda: waiters(stage.shop, LockClass.TICK) == 1, "the second tick waits for the first")
            stage.shop.execute(NEW_EVENT, ["second"])

    with points.on("tick.before_commit", start_another):
        head = stage.tick()
    assert second[0].outcome() == head + 1
    assert numbered(stage) == ["first", "second"]


@pytest.fixture
def lockless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's tick lock holds, as behind a pooler that hands one session to many."""

    @contextmanager
    def nothing(*_: Any) -> Iterator[None]:
        yield

    monkeypatch.setattr(relays.advisory, "held", nothing)


@pytest.mark.usefixtures("lockless")
def test_two_ticks_at_once_without_their_lock_cannot_both_commit(stage: Any) -> None:
    stage.tick()
    stage.shop.execute(NEW_EVENT, ["once"])
    second: list[Background] = []

    def start_another() -> None:
        if not second:
            second.append(tick_in_background(stage))
            until(lambda: blocked(stage), "the second tick waits for the first one's rows")

    with points.on("tick.before_commit", start_another):
        stage.tick()
    with pytest.raises(errors.UniqueViolation):
        second[0].outcome()
    stage.shop.execute(NEW_EVENT, ["after"])
    stage.tick()
    assert numbered(stage) == ["once", "after"]


@pytest.mark.usefixtures("lockless")
def test_a_relay_that_was_overtaken_goes_on_behind_the_other(stage: Any) -> None:
    stage.tick()
    stage.shop.execute(NEW_EVENT, ["once"])
    with connect("default", "a second relay") as conn:
        relay = Relay(STREAM, RelationProjector())
        second: list[Background] = []

        def start_another() -> None:
            if not second:
                second.append(Background(lambda: relay.step(conn)))
                until(lambda: blocked(stage), "the second tick waits for the first one's rows")

        with points.on("tick.before_commit", start_another):
            stage.tick()
        assert second[0].outcome().records == 0
        stage.shop.execute(NEW_EVENT, ["after"])
        assert relay.step(conn).records == 1
    assert numbered(stage) == ["once", "after"]


def blocked(stage: Stage) -> bool:
    """Whether some session of the monolith's database waits for another one's transaction."""
    row = stage.shop.execute(
        """SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
             AND cardinality(pg_blocking_pids(pid)) > 0"""
    ).fetchone()
    return bool(row and row[0])


def test_the_relay_in_waiting_takes_over_when_the_leader_loses_its_session(stage: Any) -> None:
    stop = threading.Event()
    leader = Background(lambda: Relay(STREAM, RelationProjector()).run(stop))
    until(lambda: _leader(stage) is not None, "a relay leads")
    first = _leader(stage)
    second = Background(lambda: Relay(STREAM, RelationProjector()).run(stop))
    for number in range(30):
        stage.shop.execute(NEW_EVENT, [str(number)])
        note(stage.shop, number + 1, "busy")
        if number == 15:
            stage.shop.execute("SELECT pg_terminate_backend(%s)", [first])
    until(lambda: _leader(stage) not in {None, first}, "another session leads")
    until(lambda: len(numbered(stage)) == 30, "everything is numbered")
    stop.set()
    for each in (leader, second):
        each.outcome()
    assert numbered(stage) == [str(number) for number in range(30)]
    stage.consume()
    stage.backfill()
    assert stage.differences() == []


def _leader(stage: Stage) -> int | None:
    who = advisory.holder(stage.shop, LockClass.RELAY, STREAM)
    return int(who.rstrip(")").split()[-1]) if who else None


def test_two_consumers_at_once_apply_every_event_once(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The consumer's lock is for order of work only: the position's row lock is what makes effects single."""
    from migration_tools.messaging import consumer, handlers

    seen: list[str] = []
    monkeypatch.setitem(
        handlers._registry,
        (STREAM, "race.happened"),
        [
            handlers.Handler(
                event_type="race.happened",
                stream=STREAM,
                versions=(1, 1),
                function=lambda event: seen.append(event.aggregate_id),
            )
        ],
    )
    monkeypatch.setattr(consumer.advisory, "try_hold", lambda *_: True)
    stop = threading.Event()
    consumers = [stage.consumer() for _ in range(3)]
    working = [Background(lambda each=each: each.run(stop)) for each in consumers]
    for number in range(60):
        stage.shop.execute(NEW_EVENT, [str(number)])
        stage.tick()
    until(lambda: len(seen) >= 60, "every event is handled")
    stop.set()
    for each in working:
        each.outcome()
    for each in consumers:
        each.feed.close()
    assert seen == [str(number) for number in range(60)]


def test_streams_numbered_and_applied_in_parallel_keep_the_order_of_each_key(stage: Any, monkeypatch: Any) -> None:
    """Four streams, a relay and a consumer each, four writers that choose stream and key at random."""
    from migration_tools.messaging import handlers
    from migration_tools.messaging.consumer import Consumer

    streams = [f"stream{number}" for number in range(4)]
    seen: dict[tuple[str, str], list[int]] = {}

    def note_it(event: Any) -> None:
        seen.setdefault((event.stream, event.aggregate_id), []).append(event.payload["number"])

    for stream in streams:
        handler = handlers.Handler(event_type="race.happened", stream=stream, versions=(1, 1), function=note_it)
        monkeypatch.setitem(handlers._registry, (stream, "race.happened"), [handler])
    stop = threading.Event()
    feeds = [DirectFeed("default", "monolith", stream) for stream in streams]
    working = [Background(lambda each=each: Relay(each, RelationProjector()).run(stop)) for each in streams]
    working += [
        Background(lambda feed=feed: Consumer(feed.stream, feed, TableWriter(), using="orders").run(stop))
        for feed in feeds
    ]

    def write(seed: int) -> None:
        choose = random.Random(seed)
        with stage.pair.connect("shop", "shop_app") as conn:
            for number in range(80):
                # The key is locked first, as a row is by its update; `seq` is drawn under the lock.
                with conn.transaction():
                    key = choose.randrange(6)
                    conn.execute("SELECT pg_advisory_xact_lock(42, %s)", [key])
                    conn.execute(NUMBERED_EVENT, [choose.choice(streams), str(key), seed * 1000 + number])

    for each in [Background(lambda seed=seed: write(seed)) for seed in range(4)]:
        each.outcome()
    until(lambda: sum(map(len, seen.values())) >= 320, "everything is handled")
    stop.set()
    for each in working:
        each.outcome()
    for feed in feeds:
        feed.close()
    rows = stage.shop.execute(
        """SELECT stream, aggregate_id, array_agg((payload->>'number')::int ORDER BY seq) FROM strangle_outbox
           WHERE aggregate_type = 'race' GROUP BY 1, 2"""
    ).fetchall()
    assert {(row[0], row[1]): row[2] for row in rows} == seen


def test_a_tick_that_takes_longer_than_the_lease_loses_it_once_and_is_made(stage: Any, settings: Any) -> None:
    """Else a statement of millions of rows would stop its stream for ever."""
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "RELAY_LEASE_SECONDS": 1.0}
    tried: list[int] = []

    class Thorough(RelationProjector):
        def project(self, conn: Any, **what: Any) -> int:
            tried.append(conn.info.backend_pid)
            threading.Event().wait(1.2)
            return super().project(conn, **what)

    stop = threading.Event()
    relay = Background(lambda: Relay(STREAM, Thorough()).run(stop))
    note(stage.shop, 1, "much")
    until(lambda: len(stage.shop.execute("SELECT FROM strangle_tick").fetchall()) == 1, "the tick is made")
    stop.set()
    relay.outcome()
    # A second one is lost only where the machine slept through four leases.
    assert 2 <= len(set(tried)) <= 3
    assert len(stage.shop.execute("SELECT FROM strangle_stream WHERE key = '{1}'").fetchall()) == 1


def test_holder_names_the_session_that_leads(stage: Any) -> None:
    with psycopg.connect(stage.pair.cluster.dsn(stage.pair.shop), autocommit=True) as conn:
        advisory.try_hold(conn, LockClass.RELAY, STREAM)
        assert _leader(stage) == conn.info.backend_pid
