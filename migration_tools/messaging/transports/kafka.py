"""The Kafka transport: a stream is one partition, confirmed by all replicas; our position is the truth, not its offset.

Note [one partition a stream]. A batch holds many keys and lies between two positions, so only the order of the whole
stream keeps the order of each key: everything goes to partition 0 of the topic `strangle.<stream>.<origin>`, however
many it has or gets. A key says which batch it is, so even a topic compacted by mistake drops repetitions alone. The
consumer assigns the partition to itself: who leads is decided by the advisory lock of its own database, and a second
election in a group could disagree with it for minutes. The group is there for its offset, a hint where to begin.
"""

import contextlib
import logging
import socket
import time
from typing import Any

from migration_tools.errors import SettingsError
from migration_tools.messaging.batch import Batch
from migration_tools.messaging.transports import endpoint
from migration_tools.messaging.transports.broker_url import KAFKA, BrokerUrl
from migration_tools.messaging.transports.messages import headers_of, name_of, read_message

try:
    import confluent_kafka as kafka
except ModuleNotFoundError as missing:
    raise SettingsError(
        "MIGRATION_TOOLS['TRANSPORT'] is 'kafka' but confluent-kafka is not installed; "
        "pip install 'django-strangler[kafka]'"
    ) from missing

log = logging.getLogger(__name__)

DEFAULT_PORT = 9092
PARTITION = 0
LONGEST_TAIL = 1_000
"""Messages before a topic's end that are worth reading; what lies further back the feed has in longer runs."""
COMMIT_SECONDS = 1.0
FETCH_WAIT_MILLISECONDS = 500
PREFETCH_KILOBYTES = 32 * 1024
HEADROOM_BYTES = 64 * 1024

TOO_LARGE = frozenset({kafka.KafkaError.MSG_SIZE_TOO_LARGE})
NO_TOPIC_YET = frozenset({kafka.KafkaError.UNKNOWN_TOPIC_OR_PART, kafka.KafkaError._UNKNOWN_TOPIC})


class KafkaTransport:
    """Streams at a Kafka cluster."""

    def __init__(self, url: str):
        self.url = url
        security(BrokerUrl(url, KAFKA))

    def publisher(self, stream: str, *, origin: str) -> "KafkaPublisher":
        """See Transport."""
        return KafkaPublisher(stream, url=self.url, origin=origin)

    def subscription(self, stream: str, *, origin: str, consumer: str) -> "KafkaSubscription":
        """See Transport."""
        return KafkaSubscription(stream, url=self.url, origin=origin, consumer=consumer)


class _KafkaEndpoint(endpoint.Endpoint):
    """One librdkafka client; it connects again by itself, until it says that no broker is left."""

    def __init__(self, stream: str, *, url: str, origin: str, answer_seconds: float):
        super().__init__(stream, broker=BrokerUrl(url, KAFKA), origin=origin, answer_seconds=answer_seconds)
        self.topic = f"strangle.{stream}.{origin}"
        self._down: Any = None

    def _forget(self) -> None:
        self._down = None

    def _settings(self) -> dict[str, Any]:
        milliseconds = int(self._answer_seconds * 1000)
        return {
            **security(self.broker),
            "bootstrap.servers": ",".join(
                f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in _addresses(self.broker)
            ),
            "client.id": f"strangle.{self.stream}",
            "error_cb": self._on_error,
            # What matters of its errors is in ours; the rest comes once for each attempt to connect.
            "logger": log,
            "log_level": 2,
            # librdkafka counts a timeout in whole seconds and asks for one above the longest wait of a fetch.
            "socket.timeout.ms": max(milliseconds, 1_000),
            "socket.connection.setup.timeout.ms": max(milliseconds, 1_000),
        }

    def _on_error(self, error: Any) -> None:
        if error.code() == kafka.KafkaError._ALL_BROKERS_DOWN or error.fatal():
            self._down = error

    def _reach(self) -> None:
        """Knock at the brokers: librdkafka takes a refusal for something to wait out."""
        failure: OSError | None = None
        for host, port in _addresses(self.broker):
            try:
                socket.create_connection((host, port), timeout=endpoint.CONNECT_SECONDS).close()
                return
            except OSError as error:
                failure = error
        if failure is not None:
            raise failure

    def _check(self) -> None:
        if self._down is not None:
            raise kafka.KafkaException(self._down)


class KafkaPublisher(_KafkaEndpoint):
    """The relay's half: one message a batch, idempotent, confirmed by all in-sync replicas."""

    def __init__(self, stream: str, *, url: str, origin: str):
        super().__init__(stream, url=url, origin=origin, answer_seconds=endpoint.CONFIRM_SECONDS)
        self.sent = 0
        self.withheld = 0

    def publish(self, batch: Batch) -> None:
        """Send and return once all in-sync replicas have it.

        Raises:
            TransportError: no confirmation came; it may have arrived all the same, and comes twice then.
        """
        body = batch.to_json().encode()
        if len(body) > endpoint.LARGEST_BODY_BYTES or not self._confirmed(batch, body):
            self.withheld += 1
            log.info(
                "stream %s: batch after %d is too large for a broker; the feed serves it", self.stream, batch.first
            )
            return
        self.sent += 1

    def _confirmed(self, batch: Batch, body: bytes) -> bool:
        """Send and await the report; False when the broker takes no message of that size."""
        reports: list[Any] = []
        deadline = time.monotonic() + self._answer_seconds + 0.5
        with self._connected() as producer:
            producer.produce(
                self.topic,
                body,
                key=name_of(batch),
                partition=PARTITION,
                headers={name: str(value) for name, value in headers_of(batch).items()},
                on_delivery=lambda error, _: reports.append(error),
            )
            while not reports:
                self._check()
                if time.monotonic() > deadline:
                    raise TimeoutError("no confirmation")
                producer.poll(0.1)
            if reports[0] is not None and reports[0].code() not in TOO_LARGE:
                raise kafka.KafkaException(reports[0])
        return reports[0] is None

    def _connect(self) -> Any:
        self._reach()
        return kafka.Producer(
            {
                **self._settings(),
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 0,
                "compression.type": "lz4",
                "message.timeout.ms": int(self._answer_seconds * 1000),
                "message.max.bytes": endpoint.LARGEST_BODY_BYTES + HEADROOM_BYTES,
            }
        )

    def _open(self, connection: Any) -> None:
        # Asked by a producer, a broker that may make topics makes this one.
        connection.list_topics(self.topic, timeout=self._answer_seconds)

    def _leave(self, connection: Any) -> None:
        connection.purge()

    _abandon = _leave


class KafkaSubscription(_KafkaEndpoint):
    """The consumer's half: reads the partition from its own offset, one batch in hand until it is done."""

    def __init__(self, stream: str, *, url: str, origin: str, consumer: str):
        super().__init__(stream, url=url, origin=origin, answer_seconds=endpoint.LISTEN_SECONDS)
        self.group = f"{self.topic}.{consumer}"
        self.received = 0
        self.refused = 0
        self._message: Any = None
        self._batch: Batch | None = None
        self._behind: Any = None
        self._hinted = 0.0

    def receive(self, wait_seconds: float) -> Batch | None:
        """Return the batch in hand or the next one; None when there is none within `wait_seconds`.

        Raises:
            TransportError: no broker is left; the connection is tried again after a pause.
        """
        if self._batch is not None:
            return self._batch
        deadline = time.monotonic() + wait_seconds
        with self._connected() as consumer:
            while True:
                message = consumer.poll(max(deadline - time.monotonic(), 0.0))
                self._check()
                if message is None:
                    return None
                error = message.error()
                if error is None and self._take(message):
                    return self._batch
                if error is not None and error.code() not in NO_TOPIC_YET:
                    raise kafka.KafkaException(error)

    def done(self) -> None:
        """Remember the offset behind the batch in hand; a hint only: when it is lost the batch comes once more."""
        message, self._message, self._batch = self._message, None, None
        if message is not None:
            self._behind = message
            if time.monotonic() > self._hinted + COMMIT_SECONDS and self._connection is not None:
                self._hint(self._connection)

    def _hint(self, connection: Any) -> None:
        """Tell the broker where we are, without waiting for its answer."""
        message, self._behind, self._hinted = self._behind, None, time.monotonic()
        if message is not None:
            with contextlib.suppress(kafka.KafkaException):
                connection.commit(message=message, asynchronous=True)

    def _take(self, message: Any) -> bool:
        found = read_message(message.value() or b"", self.stream, self.origin)
        self._message = message
        if isinstance(found, Batch):
            self.received += 1
            self._batch = found
            return True
        self.refused += 1
        log.error("message %d of topic %s at %s %s; it is skipped", message.offset(), self.topic, self.broker, found)
        self.done()
        return False

    def _connect(self) -> Any:
        self._reach()
        return kafka.Consumer(
            {
                **self._settings(),
                "group.id": self.group,
                # Committed by hand: librdkafka's own commits hold up the end of a client whose broker is dead for 45 s.
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "latest",
                "fetch.wait.max.ms": FETCH_WAIT_MILLISECONDS,
                "queued.max.messages.kbytes": PREFETCH_KILOBYTES,
                "topic.metadata.refresh.fast.interval.ms": 100,
            }
        )

    def _open(self, connection: Any) -> None:
        place = kafka.TopicPartition(self.topic, PARTITION, self._start(connection))
        connection.assign([place])

    def _start(self, connection: Any) -> int:
        """Where to begin: behind what was done, but not far behind the end, and not where nothing is any more."""
        seconds = self._answer_seconds
        topic = connection.list_topics(self.topic, timeout=seconds).topics[self.topic]
        if topic.error is not None or PARTITION not in topic.partitions:
            # Nobody has published yet, so the beginning is all there will be.
            return int(kafka.OFFSET_BEGINNING)
        place = kafka.TopicPartition(self.topic, PARTITION)
        low, high = connection.get_watermark_offsets(place, timeout=seconds)
        (committed,) = connection.committed([place], timeout=seconds)
        hint = committed.offset if committed.error is None and low <= committed.offset <= high else low
        return int(max(hint, high - LONGEST_TAIL))

    def _forget(self) -> None:
        super()._forget()
        self._message = self._batch = self._behind = None

    def close(self) -> None:
        """See Endpoint."""
        if self._connection is not None:
            self._hint(self._connection)
        super().close()

    def _leave(self, connection: Any) -> None:
        connection.close()

    def _abandon(self, connection: Any) -> None:
        # Nothing more may be committed by it; the last reference gone, librdkafka ends its threads.
        connection.unassign()


def security(broker: BrokerUrl) -> dict[str, Any]:
    """What a URL says of TLS and of a login, in librdkafka's words; its query may say more of them.

    Raises:
        SettingsError: it names no host, or the query has another option.
    """
    if not broker.hosts:
        raise SettingsError("MIGRATION_TOOLS['BROKER_URL'] names no host; use kafka://host:9092,host:9092")
    tls = broker.scheme == "kafkas"
    found: dict[str, Any] = {"security.protocol": ("SASL_" if broker.user else "") + ("SSL" if tls else "PLAINTEXT")}
    if broker.user:
        # Not PLAIN, which would send the password as it is.
        found |= {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": broker.user, "sasl.password": broker.password}
    for name, value in broker.options.items():
        if not name.startswith(("ssl.", "sasl.")):
            raise SettingsError(f"MIGRATION_TOOLS['BROKER_URL'] has the option {name!r}; kafka takes ssl.… and sasl.…")
        found[name] = value
    return found


def _addresses(broker: BrokerUrl) -> list[tuple[str, int]]:
    found = []
    for host in broker.hosts:
        name, colon, port = host.rpartition(":")
        found.append((name.strip("[]"), int(port)) if colon and port.isdigit() else (host.strip("[]"), DEFAULT_PORT))
    return found
