"""The broker transport: batches by RabbitMQ or Redis, through kombu; a fast path that is never trusted.

Note [what a broker may do]. It may lose, repeat and reorder messages, be silent, or be away. A batch carries
the positions between which it lies, the consumer moves its position by compare-and-swap with the effects, and
what is missing it reads from the feed. So nothing here need be exact: a batch that no queue wants, that is
too large for a broker, or that is dropped from a full queue is left to the feed; a message acknowledged too
late comes twice.
"""
# mypy: allow-untyped-calls

import contextlib
import logging
import time
from collections import deque
from typing import Any

from migration_tools.conf import settings
from migration_tools.errors import SettingsError, TransportError
from migration_tools.messaging.batch import Batch, joined
from migration_tools.messaging.transports import endpoint
from migration_tools.messaging.transports.broker_url import AMQP, REDIS, BrokerUrl
from migration_tools.messaging.transports.messages import headers_of, name_of, read_message

try:
    from kombu.connection import Connection
    from kombu.entity import Exchange, Queue
    from kombu.messaging import Consumer, Producer
except ModuleNotFoundError as missing:
    raise SettingsError(
        "MIGRATION_TOOLS['TRANSPORT'] is 'kombu' but kombu is not installed; pip install 'django-strangler[kombu]'"
    ) from missing

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 30
DECLARE_AGAIN_SECONDS = 30.0

LONGEST_QUEUE = 10_000
LONGEST_DEAD_QUEUE = 1_000
TRIM_EVERY = 100
DELIVERIES = 20
PREFETCHED = 16
REDELIVER_SECONDS = 60


class KombuTransport:
    """Streams at RabbitMQ or Redis."""

    def __init__(self, url: str):
        self.url = url
        BrokerUrl(url, AMQP + REDIS)

    def publisher(self, stream: str, *, origin: str) -> "KombuPublisher":
        """See Transport."""
        return KombuPublisher(stream, url=self.url, origin=origin)

    def subscription(self, stream: str, *, origin: str, consumer: str) -> "KombuSubscription":
        """See Transport."""
        return KombuSubscription(stream, url=self.url, origin=origin, consumer=consumer)


class _KombuEndpoint(endpoint.Endpoint):
    """One connection with one channel."""

    def __init__(self, stream: str, *, url: str, origin: str, answer_seconds: float, heartbeat: int = 0):
        super().__init__(stream, broker=BrokerUrl(url, AMQP + REDIS), origin=origin, answer_seconds=answer_seconds)
        self.is_amqp = self.broker.is_amqp
        self.exchange = Exchange(f"strangle.{stream}", type="topic", durable=True)
        self._heartbeat = heartbeat

    def _connect(self) -> Any:
        connection = Connection(
            self.broker.secret,
            connect_timeout=min(endpoint.CONNECT_SECONDS, self._answer_seconds),
            heartbeat=self._heartbeat,
            transport_options=self._options(),
        )
        try:
            # Without a retry of kombu's own: the caller has better things to do than to wait.
            connection.ensure_connection(max_retries=0, reraise_as_library_errors=False)
        except BaseException:
            with contextlib.suppress(Exception):
                connection.release()
            raise
        return connection

    def _leave(self, connection: Any) -> None:
        connection.release()

    def _abandon(self, connection: Any) -> None:
        connection.collect(socket_timeout=endpoint.CONNECT_SECONDS)

    def _options(self) -> dict[str, Any]:
        if self.is_amqp:
            return {
                "confirm_publish": True,
                "read_timeout": self._answer_seconds,
                "write_timeout": self._answer_seconds,
            }
        return {
            "socket_connect_timeout": min(endpoint.CONNECT_SECONDS, self._answer_seconds),
            "socket_timeout": self._answer_seconds,
            "socket_keepalive": True,
            "visibility_timeout": REDELIVER_SECONDS,
        }


class KombuPublisher(_KombuEndpoint):
    """The relay's half: one persistent message a batch, confirmed by RabbitMQ, stored by Redis."""

    def __init__(self, stream: str, *, url: str, origin: str):
        super().__init__(stream, url=url, origin=origin, answer_seconds=endpoint.CONFIRM_SECONDS)
        self.sent = 0
        self.returned = 0
        self.withheld = 0
        self._producer: Any = None
        self._was_returned = False
        self._unheard = False

    def publish(self, batch: Batch) -> None:
        """Send and return once the broker has it or says that nobody listens yet (the feed serves who comes).

        Raises:
            TransportError: the broker did not take it; the connection is tried again after a pause.
        """
        body = batch.to_json().encode()
        if len(body) > endpoint.LARGEST_BODY_BYTES:
            self.withheld += 1
            log.info(
                "stream %s: batch after %d is too large for a broker; the feed serves it",
                self.stream,
                batch.first,
            )
            return
        self._was_returned = False
        with self._connected():
            self._producer.publish(
                body,
                routing_key=self.origin,
                mandatory=True,
                delivery_mode="persistent",
                content_type="application/json",
                content_encoding="utf-8",
                headers=headers_of(batch),
                message_id=name_of(batch),
                retry=False,
                **self._confirmation(),
            )
            self.sent += 1
            if not self.is_amqp and self.sent % TRIM_EVERY == 1:
                self._trim()
        if self._was_returned and not self._unheard:
            log.info("stream %s: nobody listens at broker %s yet", self.stream, self.broker)
        self._unheard = self._was_returned

    def _confirmation(self) -> dict[str, float]:
        seconds = self._answer_seconds
        return {"timeout": seconds, "confirm_timeout": seconds} if self.is_amqp else {}

    def _open(self, connection: Any) -> None:
        channel = connection.channel()
        self.exchange.bind(channel).declare()
        # Only RabbitMQ returns what no queue wants.
        returns = {"on_return": self._on_return} if self.is_amqp else {}
        self._producer = Producer(channel, exchange=self.exchange, auto_declare=False, **returns)

    def _forget(self) -> None:
        self._producer = None

    def _on_return(self, *_: object) -> None:
        self.returned += 1
        self._was_returned = True

    def _trim(self) -> None:
        """Empty the queues of consumers that stay away: Redis sets no limit and holds them in memory."""
        channel = self._producer.channel
        for _, _, queue in channel.get_table(self.exchange.name):
            if channel.queue_declare(queue).message_count > LONGEST_QUEUE:
                channel.queue_purge(queue)
                log.warning("queue %s at broker %s is emptied, it was full; the feed serves it", queue, self.broker)


class KombuSubscription(_KombuEndpoint):
    """The consumer's half: its own durable queue; what has come of it is in hand, as one batch, until it is done."""

    def __init__(self, stream: str, *, url: str, origin: str, consumer: str):
        super().__init__(
            stream, url=url, origin=origin, answer_seconds=endpoint.LISTEN_SECONDS, heartbeat=HEARTBEAT_SECONDS
        )
        self.queue_name = f"strangle.{stream}.{origin}.{consumer}"
        self.received = 0
        self.refused = 0
        self._arrived: deque[Any] = deque()
        self._run: list[Any] = []
        self._batch: Batch | None = None
        self._stuck = False
        self._channel: Any = None
        self._bound = 0.0

    def receive(self, wait_seconds: float) -> Batch | None:
        """Return the batch in hand or the next one; None when there is none within `wait_seconds`.

        Raises:
            TransportError: the broker is away; the connection is tried again after a pause.
        """
        if self._batch is not None:
            return self._batch
        deadline = time.monotonic() + wait_seconds
        with self._connected() as connection:
            if self.is_amqp:
                connection.heartbeat_check()
            while not self._arrived:
                try:
                    connection.drain_events(timeout=max(deadline - time.monotonic(), 0.001))
                except TimeoutError:
                    self._bind_again()
                    return None
            with contextlib.suppress(TimeoutError):
                while len(self._arrived) < PREFETCHED:
                    connection.drain_events(timeout=0)
            self._batch = self._take_run()
        return self._batch

    def _take_run(self) -> Batch | None:
        """The first message and those behind it that go on where it ends, as one batch; None when the first is none.

        See Note [taken together] of transports.following.
        """
        run: list[Batch] = []
        while self._arrived and sum(batch.last - batch.first for batch in run) < settings().BATCH_ROWS:
            message = self._arrived[0]
            batch = self._read(message)
            if batch is None:
                self._arrived.popleft().reject()
            elif run and not run[-1].leads_to(batch):
                break
            else:
                run.append(batch)
                self._run.append(self._arrived.popleft())
        return joined(run) if run else None

    def done(self) -> None:
        """Acknowledge the batch in hand; when that fails it comes once more and is skipped as applied."""
        run, self._run, self._batch = self._run, [], None
        if run:
            with contextlib.suppress(TransportError), self._connected():
                for message in run:
                    message.ack()

    def _open(self, connection: Any) -> None:
        channel = self._channel = connection.channel()
        if self._stuck:
            # RabbitMQ 3.10, killed within minutes of a quorum queue's making, forgets where the queue lives
            # and never answers for it again. Made anew it lacks messages, which the feed has.
            log.warning("queue %s at %s does not answer and is made anew", self.queue_name, self.broker)
            channel.queue_delete(self.queue_name)
            self._stuck = False
        try:
            queues = [self._declare(channel)]
            consumer = Consumer(
                channel, queues=queues, on_message=self._arrived.append, auto_declare=False, prefetch_count=PREFETCHED
            )
            consumer.consume()
        except TimeoutError:
            self._stuck = self.is_amqp
            raise

    def _forget(self) -> None:
        self._batch = self._channel = None
        self._run.clear()
        # A new one: what still arrives while the connection is taken leave of can never be acknowledged.
        self._arrived = deque()

    def _bind_again(self) -> None:
        """In a silence make sure of the binding: a broker that lost it, or an operator's hand, says nothing."""
        if time.monotonic() > self._bound + DECLARE_AGAIN_SECONDS:
            self._declare(self._channel)

    def _declare(self, channel: Any) -> Any:
        """Declare the consumer's queue and, at RabbitMQ, one for what it rejects or what returns for ever."""
        arguments: dict[str, Any] = {}
        if self.is_amqp:
            dead = Exchange(f"strangle.{self.stream}.dead", type="topic", durable=True)
            limit = {"x-max-length": LONGEST_DEAD_QUEUE}
            Queue(f"{self.queue_name}.dead", dead, self.queue_name, queue_arguments=limit).bind(channel).declare()
            arguments = {
                "x-queue-type": "quorum",
                "x-max-length": LONGEST_QUEUE,
                "x-delivery-limit": DELIVERIES,
                "x-dead-letter-exchange": dead.name,
                "x-dead-letter-routing-key": self.queue_name,
            }
        queue = Queue(self.queue_name, self.exchange, self.origin, durable=True, queue_arguments=arguments)
        queue.bind(channel).declare()
        self._bound = time.monotonic()
        return queue

    def _read(self, message: Any) -> Batch | None:
        found = read_message(message.body, self.stream, self.origin)
        if isinstance(found, Batch):
            self.received += 1
            return found
        self.refused += 1
        log.error("a message of queue %s at %s %s; it is rejected", self.queue_name, self.broker, found)
        return None
