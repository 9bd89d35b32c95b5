"""Ways from a relay to a consumer behind two Protocols: the feed (HTTP) and brokers (kombu)."""

from migration_tools.conf import settings
from migration_tools.errors import SettingsError
from migration_tools.messaging.consumer import Subscription
from migration_tools.messaging.publication import Publisher
from migration_tools.messaging.transports.feed import HttpFeed


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


def open_publisher(stream: str) -> Publisher | None:
    """The broker's sending half, or None when the transport is the feed."""
    if settings().TRANSPORT == "feed":
        return None
    from migration_tools.messaging.transports.kombu import KombuPublisher

    return KombuPublisher(stream, url=settings().BROKER_URL, origin=settings().SIDE)


def open_subscription(stream: str, origin: str) -> Subscription | None:
    """The broker's receiving half for the stream that `origin` publishes, or None when the transport is the feed."""
    if settings().TRANSPORT == "feed":
        return None
    from migration_tools.messaging.transports.kombu import KombuSubscription

    return KombuSubscription(stream, url=settings().BROKER_URL, origin=origin, consumer=settings().SIDE)
