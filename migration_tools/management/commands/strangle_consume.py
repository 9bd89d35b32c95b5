"""Run a consumer: apply another side's stream to this side's database."""

import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from migration_tools.errors import StrangleError
from migration_tools.management.operation import heed_signals
from migration_tools.messaging.consumer import Consumer
from migration_tools.messaging.transports import open_feed, open_subscription
from migration_tools.transfer.sync import TableWriter


class Command(BaseCommand):
    """Works until SIGTERM; a second consumer of the same stream stands by and takes over."""

    help = "Apply a stream of another side here: rows to tables, events to handlers. Example: manage.py strangle_consume orders"
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("stream", help="a stream that MIGRATION_TOOLS['FEEDS'] names")
        parser.add_argument("--origin", help="the side that publishes it, with a broker (default: asked from the feed)")

    def handle(self, *args: Any, **options: Any) -> None:
        stream = options["stream"]
        stop = threading.Event()
        try:
            with heed_signals(stop):
                feed = open_feed(stream)
                subscription = open_subscription(stream, options["origin"]) if options["origin"] else None
                Consumer(stream, feed, TableWriter(), subscription=subscription).run(stop)
        except StrangleError as error:
            raise CommandError(str(error), returncode=error.exit_code) from error
