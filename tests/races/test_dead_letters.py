"""Interleavings of a replay or a skip with the consumer and with each other, and the death of either at each point."""

import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.utils import Error as DatabaseFailure

from migration_tools.errors import StrangleError
from migration_tools.kernel import points
from migration_tools.messaging import dead_letters, handlers
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import handles
from migration_tools.stores.postgres import django_connection
from tests.conftest import Pair
from tests.races.scene import Background, until

KEY = ("thing", "bad")
PUBLISH = """INSERT INTO strangle_outbox (stream, kind, event_id, event_type, event_version, aggregate_type,
    aggregate_id, payload, metadata)
    VALUES ('orders', 'e', gen_random_uuid(), 'test.race', 1, 'thing', 'bad', '{}', '{}')"""
EFFECTS = "SELECT array_agg(position ORDER BY id) FROM effect"


@pytest.fixture
def scene(stage: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two events of one key are parked; what is handled from now on is a row of `effect`, in its order."""
    monkeypatch.setattr(handlers, "_registry", {})
    stage.orders.execute("CREATE TABLE effect (id bigserial, position bigint)")
    stage.orders.execute("GRANT ALL ON effect TO PUBLIC; GRANT ALL ON SEQUENCE effect_id_seq TO PUBLIC")
    poison = [True]

    @handles("test.race", stream="orders")
    def take(event: Envelope) -> None:
        if poison:
            raise LookupError
        django_connection("orders").execute("INSERT INTO effect (position) VALUES (%s)", [event.position])

    for _ in range(2):
        stage.shop.execute(PUBLISH)
    stage.settle()
    poison.clear()
    stage.parked = [letter.position for letter in dead_letters.letters(django_connection("orders"), "orders")]
    assert len(stage.parked) == 2
    return stage


def effects(stage: Any) -> list[int]:
    return stage.orders.execute(EFFECTS).fetchone()[0] or []


def left(stage: Any) -> list[int]:
    rows = stage.orders.execute("SELECT position FROM strangle_dead_letter ORDER BY position").fetchall()
    return [row[0] for row in rows]


def waits_for_the_inbox(stage: Any) -> bool:
    row = stage.orders.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    ).fetchone()
    return bool(row[0])


def beside(stage: Any, point: str, work: Callable[[], Any], main: Callable[[], Any]) -> Background:
    """Do `main`; at the point start `work` beside it, and go on when that waits for a lock or has ended."""
    started: list[Background] = []

    def start() -> None:
        if not started:
            started.append(Background(work))
            until(lambda: waits_for_the_inbox(stage) or not started[0].running(), "the other one to come to a stop")

    with points.on(point, start):
        main()
    return started[0]


def replay() -> list[int]:
    return [letter.position for letter in dead_letters.replay("orders", KEY, using="orders")]


def naive_replay(stage: Any) -> None:
    """The same without the inbox's lock, ending with "what is parked of the key"."""
    with transaction.atomic(using="orders"):
        conn = django_connection("orders")
        for letter in dead_letters.letters(conn, "orders", key=KEY):
            dead_letters.handle(letter.event)
        points.reached("naive.handled")
        conn.execute("DELETE FROM strangle_dead_letter WHERE (aggregate_type, aggregate_id) = (%s, %s)", list(KEY))


def arrive(stage: Any) -> int:
    """One more event of the key is numbered; returns its position."""
    stage.shop.execute(PUBLISH)
    return int(stage.tick())


def test_an_event_that_arrives_while_its_key_is_replayed_comes_after_it(scene: Any) -> None:
    third = arrive(scene)
    consumer = beside(scene, "dead_letters.before_commit", scene.consume, replay)
    consumer.outcome()
    assert effects(scene) == [*scene.parked, third]
    assert left(scene) == []


def test_an_event_that_arrives_while_its_key_is_replayed_is_lost_without_the_lock(scene: Any) -> None:
    third = arrive(scene)
    consumer = beside(scene, "naive.handled", scene.consume, lambda: naive_replay(scene))
    consumer.outcome()
    assert third not in effects(scene)
    assert left(scene) == [], "neither handled nor parked"


def test_a_replay_that_comes_while_an_event_of_its_key_is_parked_takes_it_too(scene: Any) -> None:
    third = arrive(scene)
    replayed = beside(scene, "dead_letters.parked", replay, scene.consume)
    assert replayed.outcome() == [*scene.parked, third]
    assert effects(scene) == [*scene.parked, third]
    assert left(scene) == []


def test_a_skip_that_comes_while_its_event_is_replayed_finds_it_gone(scene: Any) -> None:
    def skip() -> None:
        dead_letters.skip("orders", scene.parked[1], using="orders", reason="a race")

    other = beside(scene, "dead_letters.handled", skip, replay)
    with pytest.raises(StrangleError, match="no event of 'orders' is parked"):
        other.outcome()
    assert effects(scene) == scene.parked


def test_a_replay_that_comes_while_an_event_is_skipped_leaves_it_out(scene: Any) -> None:
    def skip() -> None:
        dead_letters.skip("orders", scene.parked[0], using="orders", reason="a race")

    other = beside(scene, "dead_letters.before_commit", replay, skip)
    assert other.outcome() == scene.parked[1:]
    assert effects(scene) == scene.parked[1:]


def test_of_two_replays_of_a_key_one_handles_it(scene: Any) -> None:
    other = beside(scene, "dead_letters.handled", replay, replay)
    assert other.outcome() == []
    assert effects(scene) == scene.parked


def test_while_replays_and_arrivals_alternate_the_order_of_the_key_holds(scene: Any) -> None:
    stop = threading.Event()

    def replay_on() -> None:
        while not stop.is_set():
            replay()

    with scene.running():
        other = Background(replay_on)
        for _ in range(60):
            scene.shop.execute(PUBLISH)
        until(lambda: len(effects(scene)) + len(left(scene)) >= 62, "62 events")
        stop.set()
        other.outcome()
    replay()
    assert effects(scene) == sorted(effects(scene))
    assert len(set(effects(scene))) == 62


class Death(BaseException):
    """Ends the consumer where kill -9 would."""


def test_a_consumer_that_dies_while_it_parks_parks_again(scene: Any) -> None:
    third = arrive(scene)

    def die() -> None:
        connections["orders"].close()
        raise Death

    with points.on("dead_letters.parked", die), pytest.raises((Death, DatabaseFailure)):
        scene.consume()
    assert left(scene) == scene.parked
    scene.consume()
    assert left(scene) == [*scene.parked, third]


@pytest.mark.parametrize(
    ("action", "point", "handled", "still"),
    [
        ("replay", "dead_letters.handled", 0, 1),
        ("replay", "dead_letters.before_commit", 0, 1),
        ("replay", "dead_letters.after_commit", 1, 0),
        ("skip", "dead_letters.before_commit", 0, 1),
        ("skip", "dead_letters.after_commit", 0, 0),
    ],
)
def test_kill_9_leaves_an_event_parked_or_done_never_both(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, action: str, point: str, handled: int, still: int
) -> None:
    monkeypatch.setattr(handlers, "_registry", {})

    @handles("order.placed", stream="orders")
    def count(event: Envelope) -> None:
        django_connection("orders").execute("INSERT INTO sales_dailycount VALUES ('2026-01-01', 1)")

    with pair.connect("orders") as orders:
        orders.execute(
            """INSERT INTO strangle_dead_letter (stream, position, aggregate_type, aggregate_id, reason, envelope)
               VALUES ('orders', 7, 'order', 'x', 'a test', %s)""",
            [ENVELOPE],
        )
        words = ["strangle_dead_letters", action, "orders", "--position", "7", "--reason", "a test"]
        done = pair.manage(*words, service=True, STRANGLE_POINTS=f"{point}=kill")
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert counted(orders) == (handled, still)
        if action == "replay":
            assert len(dead_letters.replay("orders", ("order", "x"), using="orders")) == still
        elif still:
            dead_letters.skip("orders", 7, using="orders", reason="again")
        assert counted(orders) == (1 if action == "replay" else 0, 0)


def counted(orders: Any) -> tuple[int, int]:
    row = orders.execute(
        "SELECT (SELECT COALESCE(sum(placed), 0) FROM sales_dailycount), (SELECT count(*) FROM strangle_dead_letter)"
    ).fetchone()
    return int(row[0]), int(row[1])


ENVELOPE = """{"eventId": "0199c0de-0000-7000-8000-000000000001", "aggregateId": "x", "aggregateType": "order",
    "eventType": "order.placed", "eventVersion": 1, "timestamp": "2026-01-01T00:00:00+00:00", "correlationId": null,
    "causationId": null, "payload": {}, "metadata": {}, "stream": "orders", "origin": "monolith", "position": 7}"""
