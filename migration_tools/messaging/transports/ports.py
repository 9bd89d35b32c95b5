"""What a transport with a broker is: two ends of one stream, opened by name; the feed stays beside it."""

from typing import Protocol

from migration_tools.messaging.consumer import Subscription
from migration_tools.messaging.publication import Publisher


class ClosablePublisher(Publisher, Protocol):
    """The relay's half."""

    def close(self) -> None:
        """Take leave of the broker; a later call connects again."""
        ...


class ClosableSubscription(Subscription, Protocol):
    """The consumer's half; closed with a batch in hand, it gets that batch once more later."""

    def close(self) -> None:
        """Take leave of the broker; a later call connects again."""
        ...


class Transport(Protocol):
    """Opens the ends of streams at the broker that a URL names; a class of it takes `url` alone.

    Opening connects to nothing: an end connects when it is used, raises TransportError while the broker is away,
    and tries again by itself. A transport may lose, repeat and reorder batches; see Note [what a broker may do].
    """

    def publisher(self, stream: str, *, origin: str) -> ClosablePublisher:
        """The sending half of the stream that the side `origin` owns."""
        ...

    def subscription(self, stream: str, *, origin: str, consumer: str) -> ClosableSubscription:
        """The receiving half for one consumer; each consumer gets every batch."""
        ...
