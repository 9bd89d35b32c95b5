"""What is particular to RabbitMQ and to Kafka: bindings and queues lost, dead letters, offsets, partitions."""

import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.messaging import Producer

from migration_tools.messaging.transports import kombu
from migration_tools.messaging.transports.kafka import KafkaTransport
from migration_tools.messaging.transports.kombu import KombuTransport
from migration_tools.testing.brokers import EmbeddedBroker, EmbeddedRabbit
from migration_tools.testing.mock_kafka import EmbeddedKafka
from migration_tools.testing.streams import Owner, Receiver, eventually
from migration_tools.testing.transports import Wire, wired
from tests.conftest import Pair
from tests.integration.transport_rig import made

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def rabbit() -> Iterator[EmbeddedBroker]:
    with made(EmbeddedRabbit) as broker:
        yield broker


@pytest.fixture(scope="module")
def kafka() -> Iterator[EmbeddedBroker]:
    with made(EmbeddedKafka) as broker:
        yield broker


def carried(wire: Wire) -> None:
    """Assert that the broker itself carries a batch."""
    wire.send(wire.owner.write())
    assert wire.subscription is not None
    assert eventually(lambda: wire.subscription.receive(0.2) is not None, 10)
    wire.receiver.catch_up()


def test_a_queue_is_a_quorum_queue_with_limits_and_a_dead_letter_exchange(pair: Pair, rabbit: EmbeddedBroker) -> None:
    with wired(KombuTransport(rabbit.url), "orders") as wire, Connection(rabbit.url) as looker:
        name = wire.subscription.queue_name  # type: ignore[union-attr]
        channel: Any = looker.channel()
        right = {
            "x-queue-type": "quorum",
            "x-max-length": kombu.LONGEST_QUEUE,
            "x-delivery-limit": kombu.DELIVERIES,
            "x-dead-letter-exchange": f"strangle.{wire.owner.stream}.dead",
            "x-dead-letter-routing-key": name,
        }
        # RabbitMQ refuses to declare a queue that exists with other arguments.
        Queue(name, durable=True, queue_arguments=right).bind(channel).queue_declare()
        for missing in right:
            wrong = {key: value for key, value in right.items() if key != missing}
            with pytest.raises(Exception, match="PRECONDITION_FAILED"):
                Queue(name, durable=True, queue_arguments=wrong).bind(looker.channel()).queue_declare()


def test_what_is_no_batch_goes_to_the_dead_letter_queue(pair: Pair, rabbit: EmbeddedBroker) -> None:
    with wired(KombuTransport(rabbit.url), "orders") as wire, Connection(rabbit.url) as looker:
        subscription: Any = wire.subscription
        channel: Any = looker.channel()
        Producer(channel).publish("no batch", exchange=f"strangle.{wire.owner.stream}", routing_key="monolith")
        carried(wire)
        dead: Any = Queue(f"{subscription.queue_name}.dead").bind(channel)
        letters: list[Any] = []

        def came() -> bool:
            letters.append(dead.get(no_ack=True))
            return letters[-1] is not None

        assert eventually(came, 10)
        letter = letters[-1]
        assert letter.payload == "no batch"
        assert letter.headers["x-death"][0]["reason"] == "rejected"
        assert subscription.refused == 1


@pytest.mark.parametrize("how", ["queue deleted", "binding removed"])
def test_an_unroutable_publish_is_noticed_and_mended(
    how: str, pair: Pair, rabbit: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kombu, "DECLARE_AGAIN_SECONDS", 0.0)
    with wired(KombuTransport(rabbit.url), "orders") as wire, Connection(rabbit.url) as looker:
        publisher: Any = wire.publisher
        subscription: Any = wire.subscription
        carried(wire)
        channel: Any = looker.channel()
        if how == "queue deleted":
            channel.queue_delete(subscription.queue_name)
        else:
            channel.queue_unbind(subscription.queue_name, f"strangle.{wire.owner.stream}", "monolith")
        wire.send(wire.owner.write())
        assert publisher.returned == 1, "RabbitMQ did not give the unroutable batch back"
        wire.receiver.catch_up()
        assert wire.delivers(20), "nobody bound the queue again"


def test_all_batches_lie_in_one_partition_in_order_under_names_of_their_own(kafka: EmbeddedBroker) -> None:
    import confluent_kafka as driver

    owner = Owner(f"stream_{uuid.uuid4().hex[:8]}")
    transport = KafkaTransport(kafka.url)
    with closing(transport.publisher(owner.stream, origin="monolith")) as publisher:
        batches = [owner.write() for _ in range(20)]
        for batch in [*batches, batches[3]]:
            publisher.publish(batch)
    topic = f"strangle.{owner.stream}.monolith"
    reader = driver.Consumer({"bootstrap.servers": f"127.0.0.1:{kafka.port}", "group.id": "looker"})
    try:
        partitions = reader.list_topics(topic, timeout=5).topics[topic].partitions
        assert len(partitions) > 1, "one partition proves nothing"
        ends = {p: reader.get_watermark_offsets(driver.TopicPartition(topic, p), timeout=5)[1] for p in partitions}
        assert ends == {p: 21 if p == 0 else 0 for p in partitions}
        reader.assign([driver.TopicPartition(topic, 0, 0)])
        keys = [reader.poll(5).key().decode() for _ in range(21)]
    finally:
        reader.close()
    assert keys[:20] == [f"{owner.stream}/monolith/{b.first}-{b.last}" for b in batches]
    assert keys[20] == keys[3], "a topic compacted by mistake must drop repetitions alone"


def test_an_offset_ahead_of_our_position_is_a_hint_and_the_feed_fills_the_hole(
    pair: Pair, kafka: EmbeddedBroker
) -> None:
    with wired(KafkaTransport(kafka.url), "orders") as wire:
        subscription: Any = wire.subscription
        wire.send(*(wire.owner.write() for _ in range(5)))
        for _ in range(3):
            assert eventually(lambda: subscription.receive(0.2) is not None, 10)
            subscription.done()
        # As after a database restored from a backup: Kafka believes that three were applied, nothing was.
        subscription.close()
        wire.receiver.catch_up()
        assert wire.owner.asked[0] == 0


def test_a_standby_takes_over_without_waiting_for_a_rebalance(pair: Pair, kafka: EmbeddedBroker) -> None:
    with wired(KafkaTransport(kafka.url), "orders") as wire, wire.owner.serving() as feed:
        carried(wire)
        # The leader is neither closed nor polled any more, as a process that hangs; its standby is the same consumer.
        standby: Any = KafkaTransport(kafka.url).subscription(wire.owner.stream, origin="monolith", consumer="orders")
        with closing(standby):
            began = time.monotonic()
            wire.send(wire.owner.write())
            assert eventually(lambda: standby.receive(0.2) is not None, 10)
            assert time.monotonic() - began < 5, "it waited for the group"
            receiver = Receiver(wire.owner, feed, standby, using="orders")
            receiver.consumer.step(0)
            assert eventually(lambda: receiver.consumer.step(0) == wire.owner.head, 10)


def test_a_consumer_far_behind_begins_near_the_end(
    pair: Pair, kafka: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migration_tools.messaging.transports.kafka.LONGEST_TAIL", 5)
    with wired(KafkaTransport(kafka.url), "orders") as wire:
        subscription: Any = wire.subscription
        subscription.close()
        wire.send(*(wire.owner.write() for _ in range(30)))
        wire.receiver.catch_up()
        assert eventually(lambda: subscription.receive(0.2) is not None, 10) or subscription.received
        assert subscription.received <= 5


def test_a_topic_that_is_not_there_yet_is_waited_for(kafka: EmbeddedBroker) -> None:
    owner = Owner(f"stream_{uuid.uuid4().hex[:8]}")
    transport = KafkaTransport(kafka.url)
    subscription = transport.subscription(owner.stream, origin="monolith", consumer="orders")
    publisher = transport.publisher(owner.stream, origin="monolith")
    with closing(subscription), closing(publisher):
        assert subscription.receive(0.3) is None
        publisher.publish(owner.write())
        assert eventually(lambda: subscription.receive(0.2) is not None, 10)
        assert subscription.receive(0).first == 0  # type: ignore[union-attr]
