"""Run a consumer: apply another side's stream to this side's database."""

import threading
from typing import Any

from django.core.management.base import CommandError, CommandParser

from migration_tools.conf import settings
from migration_tools.errors import StrangleError
from migration_tools.management.examples import Examples
from migration_tools.management.operation import heed_signals
from migration_tools.messaging.consumer import Consumer
from migration_tools.messaging.handlers import registered
from migration_tools.messaging.transports import open_feed, open_subscription
from migration_tools.transfer.sync import TableWriter


class Command(Examples):
    """Works until SIGTERM; a second consumer of the same stream stands by and takes over."""

    help = "Apply a stream of another side here: rows to tables, events to handlers."
    examples = ("orders", "orders --group counts")
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("stream", help="a stream that MIGRATION_TOOLS['FEEDS'] names")
        parser.add_argument("--origin", help="the side that publishes it, with a broker (default: asked from the feed)")
        parser.add_argument(
            "--from-head",
            action="store_true",
            help="skip to the stream's end first; what is skipped is lost here until strangle_verify --repair",
        )

        parser.add_argument(
            "--group",
            default="",
            help="apply events to this group of handlers, by the feed (default: rows, and handlers without a group)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        stream, group = options["stream"], options["group"]
        stop = threading.Event()
        try:
            with heed_signals(stop):
                if group and not any(registered(stream, group)):
                    raise StrangleError(
                        f"no handler of {stream!r} is in group {group!r} here; declare one with "
                        f"@handles(..., group={group!r})"
                    )
                feed = open_feed(stream, group)
                subscription = None
                if settings().TRANSPORT != "feed" and not group:
                    subscription = open_subscription(stream, options["origin"] or feed.origin())
                consumer = Consumer(
                    stream, feed, None if group else TableWriter(), subscription=subscription, group=group
                )
                if options["from_head"]:
                    consumer.skip_to_head()
                consumer.run(stop)
        except StrangleError as error:
            raise CommandError(str(error), returncode=error.exit_code) from error
