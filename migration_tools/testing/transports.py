"""The conformance suite of transports: whatever a broker does to batches, the stream arrives whole, in order and once.

Subclass it in a test module of yours, and say how your transport is opened; pytest does the rest::

    class TestMyTransport(TransportConformance):
        @pytest.fixture
        def broker(self) -> Broker:
            return running_broker()

        def opened(self, url: str) -> Transport:
            return MyTransport(url)

It needs pytest-django and a PostgreSQL whose tables are made; `using` names the Django database of the inbox. A broker
that cannot be killed raises `NotImplementedError` there, and one with port 0 is not put behind a proxy: both skip.
"""

import contextlib
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any, Protocol

import pytest

from migration_tools.conf import settings
from migration_tools.errors import TransportError
from migration_tools.messaging.batch import Batch
from migration_tools.messaging.consumer import Subscription
from migration_tools.messaging.transports.ports import ClosablePublisher, ClosableSubscription, Transport
from migration_tools.testing.deaf_proxy import DeafProxy
from migration_tools.testing.streams import Owner, Receiver, eventually


class Broker(Protocol):
    """A broker for tests; the embedded ones of migration_tools.testing.brokers are some."""

    port: int
    """On 127.0.0.1; 0 for a broker that is not there."""
    advertised: bool
    """Whether it tells clients where it is, as Kafka does; see DeafProxy."""

    def url_at(self, port: int) -> str:
        """Its URL behind a port of 127.0.0.1."""
        ...

    def kill(self) -> None:
        """Kill it."""
        ...

    def start(self) -> Any:
        """Start it on the same port."""
        ...


class Wire:
    """One stream from an owner to a receiver over the transport under test."""

    def __init__(self, owner: Owner, receiver: Receiver, ends: tuple[ClosablePublisher, ClosableSubscription] | None):
        self.owner = owner
        self.receiver = receiver
        self.publisher: ClosablePublisher | None
        self.subscription: ClosableSubscription | None
        self.publisher, self.subscription = ends or (None, None)
        if self.subscription is not None:
            self.subscription.receive(0)

    def send(self, *batches: Batch) -> None:
        """Publish, when there is a broker; the feed needs no sending."""
        if self.publisher is not None:
            for batch in batches:
                self.publisher.publish(batch)

    def try_to_send(self, batch: Batch) -> bool:
        """Publish if the broker takes it."""
        with contextlib.suppress(TransportError):
            self.send(batch)
            return True
        return False

    def drain(self) -> None:
        """Take what the broker still has, which the feed served already."""
        while self.subscription is not None and self.subscription.receive(0.2) is not None:
            self.subscription.done()

    def delivers(self, within_seconds: float) -> bool:
        """Whether the broker carries again: a batch that was sent now is received, not read from the feed."""

        def carried() -> bool:
            if self.subscription is None:
                return False
            # Both, whatever becomes of the other: a queue that takes no publish is mended by its consumer.
            sent = self.try_to_send(self.owner.write())
            with contextlib.suppress(TransportError):
                received = self.subscription.receive(0.3) is not None
                self.subscription.done()
                return sent and received
            return False

        found = eventually(carried, within_seconds)
        self.receiver.catch_up()
        return found


class TransportConformance:
    """One method, one promise of a transport; see messaging.transports.ports."""

    brief = 2.0
    """Seconds that five batches may take while the broker is dead."""
    arrives = 20.0
    """Seconds within which a batch comes from a broker that works."""
    returns = 60.0
    """Seconds within which a broker that was killed or deaf carries again."""

    def opened(self, url: str) -> Transport | None:
        """The transport at a URL; None for the feed alone."""
        raise NotImplementedError

    @pytest.fixture
    def broker(self) -> Broker | None:
        """A broker that runs; the next test may get the same one."""
        raise NotImplementedError

    @pytest.fixture
    def using(self, transactional_db: None) -> str:
        """The Django database of the inbox."""
        return settings().DATABASE

    @pytest.fixture
    def wire(self, broker: Broker | None, using: str) -> Iterator[Wire]:
        """A stream of its own for each test."""
        with wired(None if broker is None else self.opened(broker.url_at(broker.port)), using) as made:
            yield made

    @pytest.fixture
    def deaf(self, broker: Broker | None, using: str) -> Iterator[tuple[DeafProxy, Wire]]:
        """The same behind a proxy."""
        if broker is None or not broker.port:
            pytest.skip("no TCP to be deaf on")
        with (
            DeafProxy(broker.port, advertised=broker.advertised) as proxy,
            wired(self.opened(broker.url_at(proxy.port)), using) as made,
        ):
            yield proxy, made

    def test_batches_arrive_in_the_order_of_every_key(self, wire: Wire) -> None:
        lost = 0
        for number in range(40):
            wire.send(wire.owner.write(1 + number % 4))
            lost += wire.subscription is not None and wire.subscription.receive(min(self.arrives, 1.0)) is None
            assert lost <= 5, "the broker carried next to nothing"
            wire.receiver.catch_up()

    def test_repeated_batches_are_applied_once(self, wire: Wire) -> None:
        batches = [wire.owner.write() for _ in range(12)]
        wire.send(*(batch for batch in batches for _ in range(3)), *batches[4:8])
        wire.receiver.catch_up()
        for _ in range(len(batches) * 3 + 4):
            wire.receiver.consumer.step(0)
        wire.receiver.holds_all()

    def test_holes_are_filled_from_the_feed(self, wire: Wire) -> None:
        batches = [wire.owner.write() for _ in range(30)]
        wire.send(*(batch for number, batch in enumerate(batches) if number % 3))
        wire.receiver.catch_up()
        assert wire.owner.asked

    def test_the_last_batch_may_be_lost_and_silence_is_enough_to_notice(self, wire: Wire) -> None:
        wire.send(wire.owner.write())
        wire.receiver.catch_up()
        wire.owner.write()
        began = time.monotonic()
        wire.receiver.catch_up()
        assert time.monotonic() - began < self.brief

    def test_batches_in_any_order_are_applied_in_order(self, wire: Wire) -> None:
        batches = [wire.owner.write() for _ in range(30)]
        random.Random(7).shuffle(batches)
        wire.send(*batches)
        wire.receiver.catch_up()

    def test_a_broker_that_drops_repeats_and_reorders_at_once_loses_nothing(self, wire: Wire) -> None:
        choose = random.Random(11)
        held: list[Batch] = []
        for _ in range(60):
            held += [wire.owner.write(choose.randrange(1, 9))] * choose.choices((0, 1, 2), (3, 14, 3))[0]
            while held and choose.random() < 0.7:
                wire.send(held.pop(choose.randrange(len(held))))
            if choose.random() < 0.3:
                wire.receiver.consumer.step(0)
        wire.send(*held)
        wire.receiver.catch_up()

    def test_what_was_not_done_comes_again_after_the_consumer_left(self, wire: Wire) -> None:
        if wire.subscription is None:
            pytest.skip("no broker")
        wire.send(wire.owner.write(), wire.owner.write())
        first = awaited(wire.subscription, self.arrives)
        wire.subscription.close()
        again = awaited(wire.subscription, self.arrives)
        # Perhaps behind another one, as Redis gives back, and in a longer or shorter run.
        while again.first != first.first:
            wire.subscription.done()
            again = awaited(wire.subscription, self.arrives)
        wire.receiver.catch_up()

    def test_every_consumer_gets_every_batch(self, wire: Wire, broker: Broker | None) -> None:
        if broker is None or wire.subscription is None:
            pytest.skip("no broker")
        transport = self.opened(broker.url_at(broker.port))
        assert transport is not None
        other = transport.subscription(wire.owner.stream, origin=wire.owner.origin, consumer="another")
        with closing(other):
            other.receive(0)
            wire.send(*(wire.owner.write() for _ in range(5)))
            for end in (wire.subscription, other):
                assert awaited(end, self.arrives).first == 0
        wire.receiver.catch_up()

    def test_what_nobody_listens_to_yet_is_no_error(self, broker: Broker | None) -> None:
        if broker is None:
            pytest.skip("no broker")
        owner = Owner(f"stream_{uuid.uuid4().hex[:8]}")
        transport = self.opened(broker.url_at(broker.port))
        assert transport is not None
        with closing(transport.publisher(owner.stream, origin=owner.origin)) as publisher:
            for _ in range(3):
                publisher.publish(owner.write())

    def test_a_killed_broker_delays_nothing_and_is_used_again(self, wire: Wire, broker: Broker | None) -> None:
        wire.send(*(wire.owner.write() for _ in range(10)))
        wire.receiver.catch_up()
        if broker is None:
            return
        try:
            broker.kill()
        except NotImplementedError:
            pytest.skip("it cannot be killed")
        began = time.monotonic()
        try:
            for _ in range(5):
                with pytest.raises(TransportError, match=r"start it"):
                    wire.send(wire.owner.write())
                wire.receiver.catch_up()
            assert time.monotonic() - began < self.brief, "its death held up the stream"
        finally:
            broker.start()
        assert wire.delivers(self.returns), "the broker is back but carries nothing"

    def test_what_is_swallowed_on_its_way_to_the_consumer_is_read_from_the_feed(
        self, deaf: tuple[DeafProxy, Wire]
    ) -> None:
        proxy, wire = deaf
        self._lose(proxy, wire, 0)

    def test_a_batch_of_which_the_half_arrives_is_applied_whole_and_once(self, deaf: tuple[DeafProxy, Wire]) -> None:
        proxy, wire = deaf
        self._lose(proxy, wire, 3_000)

    def _lose(self, proxy: DeafProxy, wire: Wire, after: int) -> None:
        batches = [wire.owner.write(300) for _ in range(3)]
        wire.send(batches[0])
        wire.receiver.catch_up()
        wire.drain()
        proxy.deafen(towards_client=after)
        # The publisher may hear nothing either: what it then sends twice must not be applied twice.
        confirmed = wire.try_to_send(batches[1])
        assert after or not confirmed, "an unheard confirmation was taken for one"
        if wire.subscription is not None:
            with contextlib.suppress(TransportError):
                assert wire.subscription.receive(0.5) is None, "a part was taken for a batch"
        assert proxy.swallowed, "nothing was lost"
        began = time.monotonic()
        wire.receiver.catch_up()
        assert time.monotonic() - began < self.brief + 2, "a deaf broker held up the stream"
        proxy.hear()
        wire.owner.write()
        assert wire.delivers(self.returns), "the broker is heard again but carries nothing"
        wire.send(batches[1])
        wire.receiver.catch_up()

    def test_a_publish_that_is_swallowed_half_way_is_not_taken_for_sent(self, deaf: tuple[DeafProxy, Wire]) -> None:
        proxy, wire = deaf
        wire.send(wire.owner.write())
        wire.receiver.catch_up()
        proxy.deafen(towards_broker=3_000)
        batch = wire.owner.write(300)
        assert not wire.try_to_send(batch), "half a batch was taken for sent"
        assert proxy.swallowed, "nothing was lost"
        proxy.hear()
        assert eventually(lambda: wire.try_to_send(batch), self.returns)
        wire.receiver.catch_up()
        assert wire.delivers(self.returns)


def awaited(subscription: Subscription, within_seconds: float) -> Batch:
    """The next batch; an AssertionError when none comes."""
    deadline = time.monotonic() + within_seconds
    while (batch := subscription.receive(0.2)) is None:
        assert time.monotonic() < deadline, "nothing came"
    return batch


@contextlib.contextmanager
def wired(transport: Transport | None, using: str) -> Iterator[Wire]:
    """A stream, its feed and its consumer; with a transport, both ends at the broker too."""
    owner = Owner(f"stream_{uuid.uuid4().hex[:8]}")
    with ExitStack() as stack:
        feed = stack.enter_context(owner.serving())
        ends = None
        if transport is not None:
            ends = (
                stack.enter_context(closing(transport.publisher(owner.stream, origin=owner.origin))),
                stack.enter_context(
                    closing(transport.subscription(owner.stream, origin=owner.origin, consumer="orders"))
                ),
            )
        yield Wire(owner, Receiver(owner, feed, None if ends is None else ends[1], using=using), ends)
