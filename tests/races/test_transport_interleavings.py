"""Interleavings of relay, publication, broker and consumer: no position is skipped, no tick waits for a broker."""

import gc
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from typing import Any

import pytest

from migration_tools.capture.projector import RelationProjector
from migration_tools.errors import SettingsError, TransportError
from migration_tools.kernel import points
from migration_tools.messaging.batch import Batch
from migration_tools.messaging.publication import Publication
from migration_tools.messaging.relay import Relay
from migration_tools.messaging.transports.kafka import KafkaTransport
from migration_tools.messaging.transports.kombu import KombuTransport
from migration_tools.stores.postgres import connect
from migration_tools.testing.brokers import EmbeddedBroker, EmbeddedRabbit, EmbeddedRedis
from migration_tools.testing.mock_kafka import EmbeddedKafka
from migration_tools.testing.streams import Owner, Receiver, eventually
from tests.conftest import Pair
from tests.integration.transport_rig import deaf_port, made
from tests.races.scene import NEW_EVENT
from tests.stage import STREAM, _thread

pytestmark = pytest.mark.thorough

SCHEMES = {
    "redis": "redis://:hush%21@{}/0",
    "rabbitmq": "amqp://strangle:hush%21@{}//",
    "kafka": "kafka://strangle:hush%21@{}/",
}


@pytest.fixture(scope="module")
def rabbit() -> Iterator[EmbeddedBroker]:
    with made(EmbeddedRabbit) as broker:
        yield broker


@pytest.fixture(scope="module")
def redis() -> Iterator[EmbeddedBroker]:
    with made(EmbeddedRedis) as broker:
        yield broker


@pytest.fixture(scope="module")
def kafka() -> Iterator[EmbeddedBroker]:
    with made(EmbeddedKafka) as broker:
        yield broker


def ends_of(url: str, stream: str) -> tuple[Any, Any]:
    transport = KafkaTransport(url) if url.startswith("kafka") else KombuTransport(url)
    consumer = f"orders_{uuid.uuid4().hex[:8]}"
    return (
        transport.publisher(stream, origin="monolith"),
        transport.subscription(stream, origin="monolith", consumer=consumer),
    )


def received(subscription: Any, count: int, within_seconds: float = 30) -> list[tuple[int, int]]:
    """The next batches' positions, acknowledged."""
    found: list[tuple[int, int]] = []

    def one() -> bool:
        batch = subscription.receive(0.1)
        if batch is not None:
            found.append((batch.first, batch.last))
            subscription.done()
        return len(found) >= count

    assert eventually(one, within_seconds), f"only {found} came"
    return found


def write(stage: Any) -> int:
    """One committed change and its tick; returns the head."""
    stage.shop.execute("UPDATE orders_order SET note = gen_random_uuid()::text WHERE id = 1")
    return int(stage.tick())


def test_publication_goes_on_from_the_last_confirmed_position_after_an_outage(
    stage: Any, rabbit: EmbeddedBroker
) -> None:
    publisher, subscription = ends_of(rabbit.url, STREAM)
    publication = Publication(STREAM, publisher, alias="default")
    with closing(publisher), closing(subscription), connect("default", "test") as conn:
        subscription.receive(0.1)
        # RabbitMQ 3.10 forgets a quorum queue that is younger than its last clean stop or some minutes.
        rabbit.stop()
        rabbit.start()
        with pytest.raises(TransportError):
            subscription.receive(0.1)
        heads = [write(stage) for _ in range(2)]
        assert publication.step(conn)
        rabbit.kill()
        heads += [write(stage) for _ in range(3)]
        with pytest.raises(TransportError, match=r"amqp://strangle:\*\*\*@127\.0\.0\.1"):
            publication.step(conn)
        rabbit.start()
        heads.append(write(stage))

        def published() -> bool:
            try:
                return not publication.step(conn)
            except TransportError:
                return False

        assert eventually(published, 60)
        batches = received(subscription, 1)
        while batches[-1][1] < heads[-1]:
            batches += received(subscription, 1)
        assert batches[0][0] == 0
        assert batches[-1][1] == heads[-1]
        assert all(after[0] <= before[1] for before, after in pairwise(batches)), batches


def test_a_broker_that_takes_nothing_any_more_holds_one_batch_in_memory_and_no_tick(
    stage: Any, rabbit: EmbeddedRabbit, settings: Any
) -> None:
    """RabbitMQ with its memory alarm on: it reads nothing more from who publishes, and says nothing."""
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "BATCH_ROWS": 10}
    publisher, subscription = ends_of(rabbit.url, STREAM)
    relay = Relay(STREAM, RelationProjector(), alias="default", publisher=publisher)
    stop = threading.Event()
    with ExitStack() as stack:
        for end in (publisher, subscription):
            stack.enter_context(closing(end))
        subscription.receive(0.1)
        stack.callback(_thread(relay.run, stop).join)
        stack.callback(stop.set)
        write_event(stage, "first")
        assert eventually(lambda: publisher.sent > 0, 20), "the broker carries nothing"
        rabbit.block()
        stack.callback(rabbit.unblock)
        sent, before = publisher.sent, _batches_in_memory()
        for number in range(300):
            write_event(stage, str(number) + "x" * 10_000)
            if number % 30 == 0:
                assert _batches_in_memory() <= before + 3
        assert eventually(lambda: _head(stage) >= 301, 10), "the broker delays the ticks"
        assert publisher.sent <= sent + 1, "it was not blocked"
        rabbit.unblock()
        assert eventually(lambda: _published(stage) >= 301, 60)


def write_event(stage: Any, key: str) -> None:
    stage.shop.execute(NEW_EVENT, [key])


def _published(stage: Any) -> int:
    row = stage.shop.execute("SELECT max(position) FROM strangle_transport").fetchone()
    return int(row[0] or 0)


def test_a_crash_between_confirmation_and_its_note_sends_twice_and_applies_once(
    pair: Pair, stage: Any, redis: EmbeddedBroker
) -> None:
    class Crash(Exception):
        pass

    def crash() -> None:
        raise Crash

    publisher, subscription = ends_of(redis.url, STREAM)
    publication = Publication(STREAM, publisher, alias="default")
    with closing(publisher), closing(subscription), connect("default", "test") as conn:
        subscription.receive(0.1)
        write(stage)
        with points.on("publication.confirmed", crash), pytest.raises(Crash):
            publication.step(conn)
        assert publication.step(conn)
        assert not publication.step(conn)
        first, second = received(subscription, 2)
        assert first == second


def test_a_tick_commits_while_the_publication_waits_for_its_confirmation(stage: Any) -> None:
    waiting, answer = threading.Event(), threading.Event()

    class Slow:
        def publish(self, batch: Batch) -> None:
            waiting.set()
            answer.wait(30)

    relay = Relay(STREAM, RelationProjector(), alias="default", publisher=Slow())
    stop = threading.Event()
    with ExitStack() as stack:
        stack.callback(_thread(relay.run, stop).join)
        stack.callback(answer.set)
        stack.callback(stop.set)
        for number in range(3):
            before = _head(stage)
            stage.shop.execute("UPDATE orders_order SET note = %s WHERE id = 1", [str(number)])
            assert eventually(lambda before=before: _head(stage) > before, 5), "the tick waits for the broker"
            assert waiting.wait(5)


@pytest.mark.parametrize("name", SCHEMES)
def test_the_relay_numbers_while_its_broker_never_answers(name: str, stage: Any) -> None:
    with deaf_port() as port, ExitStack() as stack:
        publisher = ends_of(SCHEMES[name].format(f"127.0.0.1:{port}"), STREAM)[0]
        relay = Relay(STREAM, RelationProjector(), alias="default", publisher=publisher)
        stop = threading.Event()
        stack.enter_context(closing(publisher))
        stack.callback(_thread(relay.run, stop).join)
        stack.callback(stop.set)
        for number in range(3):
            before = _head(stage)
            stage.shop.execute("UPDATE orders_order SET note = %s WHERE id = 1", [str(number)])
            assert eventually(lambda before=before: _head(stage) > before, 1.5)


@pytest.mark.parametrize("name", SCHEMES)
def test_the_consumer_reads_the_feed_within_seconds_while_its_broker_never_answers(name: str, pair: Pair) -> None:
    owner = Owner(f"stream_{uuid.uuid4().hex[:8]}")
    with deaf_port() as port, owner.serving() as feed:
        publisher, subscription = ends_of(SCHEMES[name].format(f"127.0.0.1:{port}"), owner.stream)
        with closing(publisher), closing(subscription):
            receiver = Receiver(owner, feed, subscription, using="orders")
            slowest = 0.0
            for _ in range(20):
                owner.write()
                began = time.monotonic()
                receiver.catch_up()
                slowest = max(slowest, time.monotonic() - began)
            assert slowest < 2.5


@pytest.mark.parametrize("name", SCHEMES)
def test_no_message_shows_the_password(name: str) -> None:
    with deaf_port() as port:
        closed_later = port
    publisher, subscription = ends_of(SCHEMES[name].format(f"127.0.0.1:{closed_later}"), "quiet")
    for call in (lambda: publisher.publish(Owner("quiet").write()), lambda: subscription.receive(0)):
        with pytest.raises(TransportError, match=r"MIGRATION_TOOLS\['BROKER_URL'\]") as caught:
            call()
        assert "hush" not in str(caught.value)
        assert f":***@127.0.0.1:{closed_later}/" in str(caught.value)


def test_a_wrong_password_is_said_without_telling_it(rabbit: EmbeddedBroker) -> None:
    publisher, subscription = ends_of(rabbit.url.replace(rabbit.password, "guessed"), "quiet")
    with closing(publisher), closing(subscription), pytest.raises(TransportError) as caught:
        subscription.receive(0)
    assert "ACCESS_REFUSED" in str(caught.value)
    assert "guessed" not in str(caught.value)


def test_another_kind_of_broker_is_refused_with_what_to_write() -> None:
    with pytest.raises(SettingsError, match=r"use amqp://.*redis://"):
        KombuTransport("kafka://somewhere")
    with pytest.raises(SettingsError, match=r"use kafka://"):
        KafkaTransport("amqp://somewhere")
    with pytest.raises(SettingsError, match=r"option 'acks'; kafka takes ssl\.… and sasl\.…"):
        KafkaTransport("kafka://somewhere?acks=0")


def test_a_message_that_is_no_batch_of_this_stream_is_set_aside(pair: Pair, rabbit: EmbeddedBroker) -> None:
    stream = f"stream_{uuid.uuid4().hex[:8]}"
    owner, stranger = Owner(stream), Owner(stream, origin="somebody")
    publisher, subscription = ends_of(rabbit.url, stream)
    with closing(publisher), closing(subscription), owner.serving() as feed:
        receiver = Receiver(owner, feed, subscription, using="orders")
        subscription.receive(0)
        publisher.publish(stranger.write())
        publisher.publish(owner.write())
        receiver.catch_up()
        publisher.publish(owner.write())
        assert eventually(lambda: subscription.receive(0.1) is not None, 5)
        assert subscription.refused == 1
        receiver.catch_up()


def test_a_batch_nobody_waits_for_is_no_error(rabbit: EmbeddedBroker) -> None:
    publisher = ends_of(rabbit.url, f"stream_{uuid.uuid4().hex[:8]}")[0]
    owner = Owner(publisher.stream)
    with closing(publisher):
        publisher.publish(owner.write())
        publisher.publish(owner.write())
    assert (publisher.sent, publisher.returned) == (2, 2)


@pytest.mark.parametrize("name", ["redis", "rabbit", "kafka"])
def test_a_batch_too_large_for_a_broker_is_left_to_the_feed(
    name: str, pair: Pair, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migration_tools.messaging.transports.endpoint.LARGEST_BODY_BYTES", 2_000)
    broker: EmbeddedBroker = request.getfixturevalue(name)
    owner = Owner(f"stream_{uuid.uuid4().hex[:8]}")
    publisher, subscription = ends_of(broker.url, owner.stream)
    with closing(publisher), closing(subscription), owner.serving() as feed:
        receiver = Receiver(owner, feed, subscription, using="orders")
        subscription.receive(0)
        for records in (2, 200, 2):
            publisher.publish(owner.write(records))
        receiver.catch_up()
        assert (publisher.sent, publisher.withheld) == (2, 1)


def test_the_queue_of_a_consumer_that_stays_away_does_not_fill_redis(
    redis: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migration_tools.messaging.transports.kombu.LONGEST_QUEUE", 10)
    monkeypatch.setattr("migration_tools.messaging.transports.kombu.TRIM_EVERY", 5)
    owner = Owner(f"stream_{uuid.uuid4().hex[:8]}")
    publisher, subscription = ends_of(redis.url, owner.stream)
    with closing(publisher), closing(subscription):
        subscription.receive(0)
        subscription.close()
        for _ in range(40):
            publisher.publish(owner.write())
        kept = 0
        while subscription.receive(0.2) is not None:
            subscription.done()
            kept += 1
    assert kept <= 16


def test_the_owner_hears_where_the_consumer_is_however_much_the_broker_sends(pair: Pair, redis: EmbeddedBroker) -> None:
    owner = Owner(f"stream_{uuid.uuid4().hex[:8]}")
    publisher, subscription = ends_of(redis.url, owner.stream)
    with closing(publisher), closing(subscription), owner.serving() as feed:
        receiver = Receiver(owner, feed, subscription, using="orders")
        subscription.receive(0)
        began = time.monotonic()
        while time.monotonic() - began < 3.5:
            publisher.publish(owner.write())
            receiver.catch_up()
    assert len(owner.asked) >= 3
    assert max(owner.asked) > owner.head / 3


def _batches_in_memory() -> int:
    """Those of the whole process; what tests before have left counts from the start."""
    gc.collect()
    return sum(isinstance(each, Batch) for each in gc.get_objects())


def _head(stage: Any) -> int:
    row = stage.shop.execute(
        "SELECT COALESCE(max(base + records), 0) FROM strangle_tick WHERE stream = %s", [STREAM]
    ).fetchone()
    return int(row[0])
