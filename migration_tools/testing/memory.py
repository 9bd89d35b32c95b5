"""A broker in this process for your own tests: the port of real ones, faults at will, nothing to install."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from migration_tools.errors import TransportError
from migration_tools.messaging.batch import Batch
from migration_tools.messaging.transports.messages import read_message

Bodies = deque[str]


def faithful(body: str) -> list[str]:
    """Deliver as it is."""
    return [body]


@dataclass
class MemoryBroker:
    """Queues by stream, origin and consumer; `deliver` decides what becomes of a message on its way to each queue.

    `lambda body: []` loses it, `lambda body: [body, body]` repeats it. Batches pass as JSON, as they do elsewhere.
    """

    deliver: Callable[[str], list[str]] = faithful
    up: bool = True
    queues: dict[tuple[str, str], dict[str, Bodies]] = field(default_factory=dict)
    news: threading.Condition = field(default_factory=threading.Condition)

    def kill(self) -> None:
        """Refuse everything, and forget what the queues held."""
        with self.news:
            self.up = False
            for queues in self.queues.values():
                for queue in queues.values():
                    queue.clear()
            self.news.notify_all()

    def start(self) -> None:
        """Answer again."""
        with self.news:
            self.up = True

    def check(self) -> None:
        """Raise TransportError while it is down."""
        if not self.up:
            raise TransportError("the broker in memory does not work; start it: until then the feed carries the stream")


BROKERS: dict[str, MemoryBroker] = {}
"""By URL, so that both sides of a test find the same one."""


class MemoryTransport:
    """TRANSPORT = "migration_tools.testing.memory:MemoryTransport", BROKER_URL = "memory://<any name>".

    Relay and consumer must be threads of one process; `broker` is where faults are planted.
    """

    def __init__(self, url: str):
        self.broker = BROKERS.setdefault(url, MemoryBroker())

    def publisher(self, stream: str, *, origin: str) -> "MemoryPublisher":
        """See Transport."""
        return MemoryPublisher(self.broker, (stream, origin))

    def subscription(self, stream: str, *, origin: str, consumer: str) -> "MemorySubscription":
        """See Transport."""
        return MemorySubscription(self.broker, (stream, origin), consumer)


class MemoryPublisher:
    """The relay's half."""

    def __init__(self, broker: MemoryBroker, line: tuple[str, str]):
        self.broker = broker
        self.line = line
        self.sent = 0

    def publish(self, batch: Batch) -> None:
        """Put the batch into every queue there is."""
        body = batch.to_json()
        with self.broker.news:
            self.broker.check()
            for queue in self.broker.queues.get(self.line, {}).values():
                queue.extend(self.broker.deliver(body))
            self.broker.news.notify_all()
        self.sent += 1

    def close(self) -> None:
        """Nothing is held open."""


class MemorySubscription:
    """The consumer's half; a batch leaves its queue when it is done."""

    def __init__(self, broker: MemoryBroker, line: tuple[str, str], consumer: str):
        self.broker = broker
        self.line = line
        self.consumer = consumer
        self.received = 0
        self._batch: Batch | None = None

    def receive(self, wait_seconds: float) -> Batch | None:
        """Return the batch in hand or the next one; None when there is none within `wait_seconds`."""
        deadline = time.monotonic() + wait_seconds
        while self._batch is None:
            with self.broker.news:
                self.broker.check()
                queue = self._queue()
                if not queue:
                    self.broker.news.wait(max(deadline - time.monotonic(), 0))
                    self.broker.check()
                if not queue:
                    return None
                found = read_message(queue[0], *self.line)
                if isinstance(found, Batch):
                    self._batch = found
                    self.received += 1
                else:
                    queue.popleft()
        return self._batch

    def done(self) -> None:
        """Take the batch in hand from the queue."""
        if self._batch is not None:
            self._batch = None
            with self.broker.news:
                if queue := self._queue():
                    queue.popleft()

    def close(self) -> None:
        """Put the batch in hand back."""
        self._batch = None

    def _queue(self) -> Bodies:
        return self.broker.queues.setdefault(self.line, {}).setdefault(self.consumer, deque())
