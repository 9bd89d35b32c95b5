"""Write the changes of some tables as Debezium's events, one a line, from this database's log."""

import json
import threading
from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandParser

from migration_tools.conf import settings
from migration_tools.management.examples import Examples
from migration_tools.management.signals import heed_signals
from migration_tools.messaging.foreign.envelopes import Message
from migration_tools.messaging.foreign.tail import LogTail
from migration_tools.stores.postgres import connect

POLL_SECONDS = 0.2


class Command(Examples):
    """What was written is acknowledged after it was flushed; a crash between repeats it."""

    help = "Write changes of tables as Debezium's events."
    examples = ("crm --prefix shop --follow",)
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="what the slot and the publication are called after")
        parser.add_argument("--prefix", default="", help="the topics' first part; default: SIDE of the settings")
        parser.add_argument("--table", action="append", default=[], help="with --create: a table, again for each")
        parser.add_argument("--create", action="store_true", help="publish the tables and make the slot, then end")
        parser.add_argument("--drop", action="store_true", help="drop slot and publication, then end")
        parser.add_argument("--follow", action="store_true", help="go on until SIGTERM")

    def handle(self, *args: Any, **options: Any) -> None:
        tail = LogTail(options["name"], prefix=options["prefix"] or settings().SIDE)
        stop = threading.Event()
        with heed_signals(stop), connect(settings().DATABASE, f"changes {tail.name}") as conn:
            if options["drop"]:
                tail.drop(conn)
            elif options["create"]:
                tail.create(conn, options["table"])
            else:
                tail.step(conn, self._write)
                while options["follow"] and not stop.wait(POLL_SECONDS):
                    tail.step(conn, self._write)

    def _write(self, messages: Sequence[Message]) -> None:
        for each in messages:
            document = {"topic": each.topic, "key": each.key, "value": each.value}
            self.stdout.write(json.dumps(document, ensure_ascii=False))
        self.stdout.flush()
