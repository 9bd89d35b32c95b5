"""One end of a stream at a broker: connected when needed, and after a failure not before a growing pause is over."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from migration_tools.errors import TransportError
from migration_tools.messaging.transports.broker_url import BrokerUrl

CONNECT_SECONDS = 2.0
CONFIRM_SECONDS = 5.0
LISTEN_SECONDS = 1.5
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
PAUSE_PER_STALL = 5

LARGEST_BODY_BYTES = 16 * 1024 * 1024


class Endpoint:
    """What publishers and subscriptions of every broker have in common; a driver fills in the five verbs below."""

    def __init__(self, stream: str, *, broker: BrokerUrl, origin: str, answer_seconds: float):
        self.stream = stream
        self.origin = origin
        self.broker = broker
        self._answer_seconds = answer_seconds
        self._connection: Any = None
        self._pause = FIRST_PAUSE_SECONDS
        self._not_before = 0.0
        self._failure = ""

    def close(self) -> None:
        """Take leave of the broker; a later call connects again."""
        connection, self._connection = self._connection, None
        self._forget()
        if connection is not None:
            with contextlib.suppress(Exception):
                self._leave(connection)

    def _connect(self) -> Any:
        """Connect."""
        raise NotImplementedError

    def _open(self, connection: Any) -> None:
        """Declare and prepare what the endpoint needs on a fresh connection."""
        raise NotImplementedError

    def _forget(self) -> None:
        """Drop what belonged to the connection."""
        raise NotImplementedError

    def _leave(self, connection: Any) -> None:
        """Close a connection that works."""
        raise NotImplementedError

    def _abandon(self, connection: Any) -> None:
        """Let a broken connection go without waiting for the broker, which may not answer."""
        raise NotImplementedError

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        """Give the open connection; a failure of broker or driver closes it and becomes a TransportError."""
        if self._connection is None and time.monotonic() < self._not_before:
            raise TransportError(self._failure)
        began = time.monotonic() if self._connection is None else None
        try:
            if self._connection is None:
                self._connection = self._connect()
                self._open(self._connection)
                began = None
            yield self._connection
        except Exception as error:
            # No list of types: kombu lets the errors of three libraries through, AttributeError among them.
            self._drop()
            now = time.monotonic()
            # A broker that lets us wait for a connection is asked rarely: the feed can be read meanwhile.
            stall = now - began if began is not None else 0.0
            self._not_before = now + max(self._pause, stall * PAUSE_PER_STALL)
            self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
            self._failure = (
                f"broker {self.broker!r} does not work ({self.broker.describe(error)}); start it or correct "
                "MIGRATION_TOOLS['BROKER_URL']: until then the feed carries the stream"
            )
            raise TransportError(self._failure) from error
        self._pause = FIRST_PAUSE_SECONDS

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._forget()
        if connection is not None:
            with contextlib.suppress(Exception):
                self._abandon(connection)
