"""Every transport that ships passes the suite, and carries the real shop while its broker is killed."""

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest

from migration_tools.capture.projector import RelationProjector
from migration_tools.messaging.consumer import Consumer
from migration_tools.messaging.inbox import apply_batch
from migration_tools.messaging.relay import Relay
from migration_tools.messaging.transports import endpoint, kafka, kombu
from migration_tools.messaging.transports.kafka import KafkaTransport
from migration_tools.messaging.transports.kombu import KombuTransport
from migration_tools.messaging.transports.ports import Transport
from migration_tools.testing.brokers import EmbeddedBroker, EmbeddedRabbit, EmbeddedRedis
from migration_tools.testing.memory import BROKERS as IN_MEMORY
from migration_tools.testing.memory import MemoryTransport
from migration_tools.testing.mock_kafka import EmbeddedKafka
from migration_tools.testing.streams import Owner, Receiver, eventually
from migration_tools.testing.transports import TransportConformance
from migration_tools.transfer.sync import TableWriter
from tests.conftest import ROOT, Cluster, Pair, cloned_pair
from tests.integration.transport_rig import made
from tests.stage import STREAM, DirectFeed, _thread, write_at_random

KINDS: dict[str, tuple[type[EmbeddedBroker], Callable[[str], Transport]]] = {
    "redis": (EmbeddedRedis, KombuTransport),
    "rabbitmq": (EmbeddedRabbit, KombuTransport),
    "kafka": (EmbeddedKafka, KafkaTransport),
}
KAFKA_URL = "STRANGLE_TEST_KAFKA_URL"


@pytest.fixture(scope="module")
def brokers() -> Iterator[Callable[[str], EmbeddedBroker]]:
    """Start a broker when the first test asks for it; in CI a missing server is a failure, not a skip."""
    running: dict[str, EmbeddedBroker] = {}

    def get(name: str) -> EmbeddedBroker:
        if name not in running:
            running[name] = made(KINDS[name][0]).__enter__()
        return running[name]

    yield get
    for broker in running.values():
        broker.destroy()


@pytest.fixture(scope="class")
def one_pair(cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any) -> Iterator[Pair]:
    """One pair of databases for a transport's whole suite: every test has a stream of its own."""
    with cloned_pair(cluster, templates, django_db_blocker) as made:
        yield made


class ShortOfPatience(TransportConformance):
    """The suite with our databases, and with brokers whose answers are not awaited for long."""

    answers = 0.5

    @pytest.fixture
    def using(self, one_pair: Pair) -> str:
        return "orders"

    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(endpoint, "CONFIRM_SECONDS", self.answers)
        monkeypatch.setattr(endpoint, "LISTEN_SECONDS", 0.5)
        monkeypatch.setattr(endpoint, "PAUSE_PER_STALL", 1)
        monkeypatch.setattr(kombu, "REDELIVER_SECONDS", 1)
        # The mock cluster keeps a fetch for as long as it may, even when there is something to fetch by then.
        monkeypatch.setattr(kafka, "FETCH_WAIT_MILLISECONDS", 20)


class TestFeed(ShortOfPatience):
    def opened(self, url: str) -> None:
        return None

    @pytest.fixture
    def broker(self) -> None:
        return None


class TestMemory(ShortOfPatience):
    def opened(self, url: str) -> Transport:
        return MemoryTransport(url)

    @pytest.fixture
    def broker(self) -> Any:
        class InMemory:
            port, advertised = 0, False

            def url_at(self, port: int) -> str:
                return "memory://suite"

            def kill(self) -> None:
                IN_MEMORY["memory://suite"].kill()

            def start(self) -> None:
                IN_MEMORY["memory://suite"].start()

        return InMemory()


class TestRedis(ShortOfPatience):
    def opened(self, url: str) -> Transport:
        return KombuTransport(url)

    @pytest.fixture
    def broker(self, brokers: Callable[[str], EmbeddedBroker]) -> EmbeddedBroker:
        return brokers("redis")


class TestRabbit(ShortOfPatience):
    def opened(self, url: str) -> Transport:
        return KombuTransport(url)

    @pytest.fixture
    def broker(self, brokers: Callable[[str], EmbeddedBroker]) -> EmbeddedBroker:
        return brokers("rabbitmq")


class TestKafka(ShortOfPatience):
    answers = 1.5  # the first batch waits until the topic is made

    def opened(self, url: str) -> Transport:
        return KafkaTransport(url)

    @pytest.fixture
    def broker(self, brokers: Callable[[str], EmbeddedBroker]) -> EmbeddedBroker:
        return brokers("kafka")


@pytest.mark.skipif(KAFKA_URL not in os.environ, reason=f"{KAFKA_URL} names no cluster")
class TestKafkaThatIsGiven(TransportConformance):
    def opened(self, url: str) -> Transport:
        return KafkaTransport(url)

    @pytest.fixture
    def using(self, one_pair: Pair) -> str:
        return "orders"

    @pytest.fixture
    def broker(self) -> Any:
        class Given:
            port, advertised = 0, False

            def url_at(self, port: int) -> str:
                return os.environ[KAFKA_URL]

            def kill(self) -> None:
                raise NotImplementedError(urlsplit(os.environ[KAFKA_URL]).hostname)

            def start(self) -> None:
                raise NotImplementedError

        return Given()


CRASH = """
import django, os, signal, sys
django.setup()
from migration_tools.messaging.transports import open_transport
from django.test import override_settings
kind, url, stream = sys.argv[1:]
with override_settings(MIGRATION_TOOLS={"TRANSPORT": kind, "BROKER_URL": url}):
    subscription = open_transport().subscription(stream, origin="monolith", consumer="orders")
while subscription.receive(1.0) is None: pass
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("name", KINDS)
def test_what_a_killed_consumer_had_not_acknowledged_comes_again_and_is_skipped(
    name: str, pair: Pair, brokers: Callable[[str], EmbeddedBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kombu, "REDELIVER_SECONDS", 1)
    broker, owner = brokers(name), Owner(f"stream_{uuid.uuid4().hex[:8]}")
    transport = KINDS[name][1](broker.url)
    publisher = transport.publisher(owner.stream, origin="monolith")
    subscription = transport.subscription(owner.stream, origin="monolith", consumer="orders")
    with closing(publisher), closing(subscription), owner.serving() as feed:
        receiver = Receiver(owner, feed, subscription, using="orders")
        subscription.receive(0)
        subscription.close()
        batch = owner.write()
        publisher.publish(batch)
        kind = "kafka" if name == "kafka" else "kombu"
        killed = subprocess.run(
            [sys.executable, "-c", CRASH, kind, broker.url, owner.stream],
            cwd=ROOT,
            env=dict(os.environ),
            timeout=60,
        )
        assert killed.returncode == -9
        apply_batch(batch, receiver.recorder, using="orders")
        assert eventually(lambda: subscription.receive(0.1) is not None, 60), "it did not come again"
        assert subscription.receive(0) == batch
        receiver.consumer.step(0)
        assert receiver.recorder.applied == [1, 2, 3]
        assert subscription.receive(0.1) is None, "it was not acknowledged"


def test_what_arrives_while_the_consumer_leaves_is_not_taken_into_the_next_connection(
    brokers: Callable[[str], EmbeddedBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, transport = Owner(f"stream_{uuid.uuid4().hex[:8]}"), KombuTransport(brokers("rabbitmq").url)
    publisher = transport.publisher(owner.stream, origin="monolith")
    subscription = transport.subscription(owner.stream, origin="monolith", consumer="orders")
    leave = subscription._leave

    def leave_late(connection: Any) -> None:
        publisher.publish(owner.write())
        connection.drain_events(timeout=10)
        leave(connection)

    with closing(publisher), closing(subscription):
        subscription.receive(0)
        monkeypatch.setattr(subscription, "_leave", leave_late)
        subscription.close()
        assert eventually(lambda: subscription.receive(0.1) is not None, 10), "it did not come again"
        subscription.done()
        assert subscription.receive(0.1) is None, "it was not acknowledged"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.thorough if name == "rabbitmq" else ()) for name in KINDS]
)
def test_the_real_shop_reaches_the_real_service_while_its_broker_is_killed(
    name: str, stage: Any, brokers: Callable[[str], EmbeddedBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "LONGEST_PAUSE_SECONDS", 0.5)
    monkeypatch.setattr(endpoint, "PAUSE_PER_STALL", 1)
    stage.backfill()
    broker = brokers(name)
    transport = KINDS[name][1](broker.url)
    publisher = transport.publisher(STREAM, origin="monolith")
    subscription: Any = transport.subscription(STREAM, origin="monolith", consumer=f"orders_{uuid.uuid4().hex[:8]}")
    relay = Relay(STREAM, RelationProjector(), alias="default", publisher=publisher)
    feed = DirectFeed("default", "monolith")
    consumer = Consumer(STREAM, feed, TableWriter(), using="orders", subscription=subscription)
    applied: list[int] = []
    stop, quiet = threading.Event(), threading.Event()
    with ExitStack() as stack:
        for end in (publisher, subscription, feed):
            stack.enter_context(closing(end))
        for work in (relay.run, lambda stop: consumer.run(stop, applied.append)):
            stack.callback(_thread(work, stop).join)
        stack.callback(stop.set)
        for seed in (1, 2):
            stack.callback(_thread(partial(write_at_random, stage.pair, seed), quiet).join)
        stack.callback(quiet.set)

        assert eventually(lambda: subscription.received > 5, 60), "the broker carries nothing"
        broker.kill()
        at = applied[-1]
        assert eventually(lambda: applied[-1] > at + 20, 20), "without its broker the stream stands still"
        broker.start()
        before = subscription.received
        assert eventually(lambda: subscription.received > before + 5, 120), "the broker is back in vain"
        quiet.set()
        assert eventually(lambda: applied[-1] >= stage.tick() and stage.differences() == [], 30)
    assert stage.differences() == []
