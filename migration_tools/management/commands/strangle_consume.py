"""Run a consumer: apply another side's stream to this side's database."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from django.core.management.base import CommandParser
from django.db import connections

from migration_tools.conf import settings
from migration_tools.errors import StrangleError, TransportError
from migration_tools.management.examples import Examples
from migration_tools.management.signals import heed_signals
from migration_tools.messaging.consumer import Consumer
from migration_tools.messaging.handlers import registered
from migration_tools.messaging.transports import open_feed, open_subscription
from migration_tools.messaging.transports.feed import HttpFeed
from migration_tools.transfer.sync import TableWriter

log = logging.getLogger(__name__)

ASK_AGAIN_SECONDS = 0.5

Work = Callable[[threading.Event], None]


class Command(Examples):
    """Works until SIGTERM; a second consumer of the same stream stands by and takes over."""

    help = "Apply streams of other sides here: rows to tables, events to handlers."
    examples = ("orders", "orders --group counts", "orders users catalog --group dashboard")
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "stream", nargs="+", help="a stream that MIGRATION_TOOLS['FEEDS'] names; several share the process"
        )
        parser.add_argument("--origin", help="the side that publishes it, with a broker (default: asked from the feed)")
        parser.add_argument(
            "--from-head",
            action="store_true",
            help="skip to the stream's end first; what is skipped is lost here until strangle_verify --repair",
        )

        parser.add_argument(
            "--group",
            default="",
            help="apply events to this group of handlers (default: rows, and handlers without a group)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        with heed_signals(stop):
            together([consuming(stream, options) for stream in dict.fromkeys(options["stream"])], stop)


def consuming(stream: str, options: dict[str, Any]) -> Work:
    """What consumes a stream until told to stop; with a broker it first waits for an owner that is away.

    Raises:
        StrangleError: no handler is in the group, or settings name no feed of the stream.
    """
    group = options["group"]
    if group and not any(registered(stream, group)):
        raise StrangleError(
            f"no handler of {stream!r} is in group {group!r} here; declare one with @handles(..., group={group!r})"
        )
    feed = open_feed(stream, group)

    def work(stop: threading.Event) -> None:
        subscription = None
        if settings().TRANSPORT != "feed":
            origin = options["origin"] or _owner(feed, stop)
            if not origin:
                return
            subscription = open_subscription(stream, origin, group)
        consumer = Consumer(stream, feed, None if group else TableWriter(), subscription=subscription, group=group)
        if options["from_head"]:
            consumer.skip_to_head()
        consumer.run(stop)

    return work


def together(works: Sequence[Work], stop: threading.Event) -> None:
    """Do several works until `stop`, each in a thread of its own; the end of one is the end of all.

    Raises:
        Exception: what the first that failed has raised.
    """
    if len(works) == 1:
        works[0](stop)
        return
    failures: list[Exception] = []

    def do(work: Work) -> None:
        try:
            work(stop)
        except Exception as error:
            failures.append(error)
        finally:
            stop.set()
            connections.close_all()

    threads = [threading.Thread(target=do, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _owner(feed: HttpFeed, stop: threading.Event) -> str:
    """The side that publishes the feed's stream, as soon as it says so; empty when told to stop before."""
    while not stop.is_set():
        try:
            return feed.origin()
        except TransportError as error:
            log.warning("consumer %s: %s; trying again", feed.stream, error, extra={"context": feed.stream})
            stop.wait(ASK_AGAIN_SECONDS)
    return ""
