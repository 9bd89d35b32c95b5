"""Ways from a relay to a consumer: always the feed (HTTP), beside it a broker (RabbitMQ, Redis, Kafka, your own)."""

from importlib import import_module

from migration_tools.conf import settings
from migration_tools.errors import SettingsError
from migration_tools.messaging.groups import inbox_name
from migration_tools.messaging.transports.feed import HttpFeed
from migration_tools.messaging.transports.ports import ClosablePublisher, ClosableSubscription, Transport

SHIPPED = {
    "kombu": "migration_tools.messaging.transports.kombu:KombuTransport",
    "kafka": "migration_tools.messaging.transports.kafka:KafkaTransport",
}


def open_feed(stream: str, group: str = "") -> HttpFeed:
    """The feed that MIGRATION_TOOLS['FEEDS'] names for a stream, with receipts of a group's own if one is named.

    Raises:
        SettingsError: there is none.
    """
    feed = settings().FEEDS.get(stream)
    if feed is None:
        known = sorted(settings().FEEDS)
        raise SettingsError(f"MIGRATION_TOOLS['FEEDS'] has no {stream!r}; it has {known}. Add its url and token")
    return HttpFeed(stream, url=feed.url, token=feed.token, group=group)


def open_transport() -> Transport | None:
    """The broker that MIGRATION_TOOLS names, or None when the transport is the feed alone.

    Raises:
        SettingsError: its class is not found, its driver is not installed, or its URL is not one that it takes.
    """
    name = settings().TRANSPORT
    if name == "feed":
        return None
    module, _, attribute = SHIPPED.get(name, name).partition(":")
    try:
        kind = getattr(import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise SettingsError(f"MIGRATION_TOOLS['TRANSPORT'] is {name!r} but there is no such class ({error})") from error
    transport: Transport = kind(settings().BROKER_URL)
    return transport


def open_publisher(stream: str) -> ClosablePublisher | None:
    """The broker's sending half, or None when the transport is the feed."""
    transport = open_transport()
    return None if transport is None else transport.publisher(stream, origin=settings().SIDE)


def open_subscription(stream: str, origin: str, group: str = "") -> ClosableSubscription | None:
    """The broker's receiving half for the stream that `origin` publishes, or None when the transport is the feed.

    A group of handlers has a queue of its own, as it has a position of its own.
    """
    transport = open_transport()
    if transport is None:
        return None
    return transport.subscription(stream, origin=origin, consumer=inbox_name(settings().SIDE, group))
