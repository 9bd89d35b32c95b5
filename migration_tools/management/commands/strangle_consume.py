"""Run a consumer: apply another side's stream to this side's database."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from django.core.management.base import CommandParser
from django.db import connections

from migration_tools.conf import settings
from migration_tools.errors import StrangleError
from migration_tools.management.examples import Examples
from migration_tools.management.signals import heed_signals
from migration_tools.messaging.consumer import Consumer
from migration_tools.messaging.handlers import registered
from migration_tools.messaging.transports import open_feed, open_subscription
from migration_tools.transfer.sync import TableWriter


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
            consumers = [self._made(stream, options) for stream in dict.fromkeys(options["stream"])]
            together([each.run for each in consumers], stop)

    def _made(self, stream: str, options: dict[str, Any]) -> Consumer:
        group = options["group"]
        if group and not any(registered(stream, group)):
            raise StrangleError(
                f"no handler of {stream!r} is in group {group!r} here; declare one with @handles(..., group={group!r})"
            )
        feed = open_feed(stream, group)
        subscription = None
        if settings().TRANSPORT != "feed":
            subscription = open_subscription(stream, options["origin"] or feed.origin(), group)
        consumer = Consumer(stream, feed, None if group else TableWriter(), subscription=subscription, group=group)
        if options["from_head"]:
            consumer.skip_to_head()
        return consumer


def together(works: Sequence[Callable[[threading.Event], None]], stop: threading.Event) -> None:
    """Do several works until `stop`, each in a thread of its own; the end of one is the end of all.

    Raises:
        Exception: what the first that failed has raised.
    """
    if len(works) == 1:
        works[0](stop)
        return
    failures: list[Exception] = []

    def do(work: Callable[[threading.Event], None]) -> None:
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
