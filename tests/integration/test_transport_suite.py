"""The suite of transports fails for a transport that breaks a promise, each test by its own name."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from migration_tools.errors import SettingsError, TransportError
from migration_tools.management.commands import strangle_consume
from migration_tools.messaging.batch import Batch
from migration_tools.messaging.transports import open_publisher, open_subscription
from migration_tools.testing.memory import BROKERS, MemoryBroker, MemoryPublisher, MemorySubscription, MemoryTransport
from migration_tools.testing.postgres import free_port
from migration_tools.testing.transports import TransportConformance, wired
from tests.conftest import Pair
from tests.races.scene import Background
from tests.waiting import until

URL = "memory://broken"
PATH = "migration_tools.testing.memory:MemoryTransport"


class AcknowledgesAtOnce(MemorySubscription):
    def receive(self, wait_seconds: float) -> Batch | None:
        new = self._batch is None
        batch = super().receive(wait_seconds)
        if new and batch is not None:
            self._queue().popleft()
        return batch

    def done(self) -> None:
        self._batch = None


class SharesOneQueue(AcknowledgesAtOnce):
    def __init__(self, broker: MemoryBroker, line: tuple[str, str], consumer: str):
        super().__init__(broker, line, "everybody")


class NeverComesBack(MemorySubscription):
    dead = False

    def receive(self, wait_seconds: float) -> Batch | None:
        self.dead |= not self.broker.up
        if self.dead:
            raise TransportError("start it")
        return super().receive(wait_seconds)


class SaysNothing(MemoryPublisher):
    def publish(self, batch: Batch) -> None:
        if self.broker.up:
            super().publish(batch)


class RefusesWithoutListeners(MemoryPublisher):
    def publish(self, batch: Batch) -> None:
        if self.line not in self.broker.queues:
            raise TransportError("unroutable")
        super().publish(batch)


class Loses(MemoryPublisher):
    def publish(self, batch: Batch) -> None:
        self.broker.check()


def broken(ends: type[Any]) -> MemoryTransport:
    """A transport with one end that is not as it should be."""

    class Broken(MemoryTransport):
        def publisher(self, stream: str, *, origin: str) -> Any:
            kind = ends if issubclass(ends, MemoryPublisher) else MemoryPublisher
            return kind(self.broker, (stream, origin))

        def subscription(self, stream: str, *, origin: str, consumer: str) -> Any:
            kind = ends if issubclass(ends, MemorySubscription) else MemorySubscription
            return kind(self.broker, (stream, origin), consumer)

    return Broken(URL)


class Suite(TransportConformance):
    returns = arrives = 0.5

    def __init__(self, transport: MemoryTransport):
        self.transport = transport
        self.port, self.advertised = 0, False

    def opened(self, url: str) -> MemoryTransport:
        return self.transport

    def url_at(self, port: int) -> str:
        return URL

    def kill(self) -> None:
        self.transport.broker.kill()

    def start(self) -> None:
        self.transport.broker.start()


@pytest.fixture
def no_traces() -> Iterator[None]:
    yield
    BROKERS.clear()


CASES: list[tuple[type[Any], Callable[[Any], Callable[..., None]], bool]] = [
    (AcknowledgesAtOnce, lambda suite: suite.test_what_was_not_done_comes_again_after_the_consumer_left, False),
    (SharesOneQueue, lambda suite: suite.test_every_consumer_gets_every_batch, True),
    (NeverComesBack, lambda suite: suite.test_a_killed_broker_delays_nothing_and_is_used_again, True),
    (SaysNothing, lambda suite: suite.test_a_killed_broker_delays_nothing_and_is_used_again, True),
    (Loses, lambda suite: suite.test_batches_arrive_in_the_order_of_every_key, False),
]


@pytest.mark.parametrize(("ends", "test", "with_broker"), CASES, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_transport_fails(
    ends: type[Any], test: Callable[[Any], Any], with_broker: bool, pair: Pair, no_traces: None
) -> None:
    for kind, fails in ((MemoryTransport, False), (ends, True)):
        suite = Suite(MemoryTransport(URL) if kind is MemoryTransport else broken(kind))
        with wired(suite.transport, "orders") as wire, failing(fails):
            test(suite)(wire, suite) if with_broker else test(suite)(wire)


def test_a_publisher_that_insists_on_listeners_fails(no_traces: None) -> None:
    with pytest.raises(TransportError):
        Suite(broken(RefusesWithoutListeners)).test_what_nobody_listens_to_yet_is_no_error(
            Suite(broken(RefusesWithoutListeners))
        )


@contextmanager
def failing(expected: bool) -> Iterator[None]:
    """Expect a failed assertion of the suite, or none."""
    if not expected:
        yield
        return
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        yield


def test_a_transport_of_your_own_is_named_by_its_class(settings: Any, no_traces: None) -> None:
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "TRANSPORT": PATH, "BROKER_URL": "memory://named"}
    publisher, subscription = open_publisher("orders"), open_subscription("orders", "monolith")
    assert publisher is not None
    assert subscription is not None
    assert subscription.receive(0) is None
    publisher.publish(Batch(stream="orders", origin="monolith", first=0, last=1))
    assert subscription.receive(1) == Batch(stream="orders", origin="monolith", first=0, last=1)


def test_each_group_of_handlers_gets_every_batch_beside_its_side_s_own_consumer(settings: Any, no_traces: None) -> None:
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "TRANSPORT": PATH, "BROKER_URL": "memory://groups"}
    publisher = open_publisher("orders")
    subscriptions = [open_subscription("orders", "monolith", group) for group in ("", "counts", "checkout")]
    assert publisher is not None
    assert [each and each.receive(0) for each in subscriptions] == [None, None, None]
    sent = Batch(stream="orders", origin="monolith", first=0, last=1)
    publisher.publish(sent)
    for each in subscriptions:
        assert each is not None
        assert each.receive(1) == sent
        each.done()


class Owner(BaseHTTPRequestHandler):
    """A side whose stream is empty yet."""

    def do_GET(self) -> None:
        body = Batch(stream="orders", origin="shop", first=0, last=0).to_json().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_a_consumer_by_a_broker_waits_for_an_owner_that_is_away_when_it_starts(
    pair: Pair, settings: Any, no_traces: None, caplog: pytest.LogCaptureFixture
) -> None:
    port, stop = free_port(), threading.Event()
    settings.MIGRATION_TOOLS = {
        **settings.MIGRATION_TOOLS,
        "TRANSPORT": PATH,
        "BROKER_URL": "memory://late",
        "FEEDS": {"orders": {"url": f"http://127.0.0.1:{port}/", "token": "any"}},
    }
    work = strangle_consume.consuming("orders", {"group": "", "origin": None, "from_head": False})
    consumer = Background(lambda: work(stop))
    try:
        until(lambda: caplog.text.count("trying again") > 1, "it asks again")
        with HTTPServer(("127.0.0.1", port), Owner) as owner:
            serving = Background(owner.serve_forever)
            until(lambda: "memory://late" in BROKERS and BROKERS["memory://late"].queues != {}, "it hears the broker")
            assert consumer.running()
            stop.set()
            consumer.outcome()
            assert list(BROKERS["memory://late"].queues) == [("orders", "shop")]
            owner.shutdown()
            serving.outcome()
    finally:
        stop.set()


def test_a_transport_that_is_not_there_is_said_so(settings: Any) -> None:
    for name in ("nowhere.at.all:Transport", "migration_tools.testing.memory:Nothing"):
        settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "TRANSPORT": name, "BROKER_URL": "memory://named"}
        with pytest.raises(SettingsError, match=r"there is no such class"):
            open_publisher("orders")


def test_faults_are_planted_in_the_broker_in_memory(pair: Pair, no_traces: None) -> None:
    with wired(MemoryTransport("memory://faults"), "orders") as wire:
        BROKERS["memory://faults"].deliver = lambda body: []
        wire.send(wire.owner.write())
        assert wire.subscription is not None
        assert wire.subscription.receive(0) is None
        BROKERS["memory://faults"].deliver = lambda body: [body, body]
        wire.send(wire.owner.write())
        wire.receiver.catch_up()
        wire.receiver.consumer.step(0)
        wire.receiver.holds_all()
