"""Run the relay of this side: number the outbox of its streams and publish them."""

import json
import threading
from typing import Any

from django.core.management.base import CommandParser

from migration_tools.capture.projector import RelationProjector
from migration_tools.conf import settings
from migration_tools.errors import ExitCode, StrangleError
from migration_tools.management.examples import Examples
from migration_tools.management.signals import heed_signals
from migration_tools.messaging.relay import Relay, tick
from migration_tools.messaging.transports import open_publisher
from migration_tools.playbook.registry import load
from migration_tools.stores.postgres import connect


class Command(Examples):
    """Works until SIGTERM; a second relay stands by and takes over."""

    help = "Number this side's outbox and publish it; one leads, others stand by."
    examples = ("", "orders", "orders --once")
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("streams", nargs="*", help="default: every stream that this side's settings name")
        parser.add_argument("--once", action="store_true", help="one tick, then end")
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        streams = options["streams"] or sorted({*settings().FEEDS, *load()})
        if not streams:
            raise StrangleError(
                "MIGRATION_TOOLS names no stream; set FEEDS or PLAYBOOKS, or name streams on the command line"
            )
        if options["once"]:
            self._once(streams, options["format"])
            return
        stop = threading.Event()
        with heed_signals(stop):
            relays = [Relay(name, RelationProjector(), publisher=open_publisher(name)) for name in streams]
            threads = [threading.Thread(target=_run, args=(relay, stop), name=relay.stream) for relay in relays]
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
        if any(relay.failed for relay in relays):
            raise StrangleError("a relay ended by an error; see the log above")

    def _once(self, streams: list[str], form: str) -> None:
        with connect(settings().DATABASE, "relay") as conn:
            heads = {name: tick(conn, name, RelationProjector()).head for name in streams}
        self.stdout.write(
            json.dumps({"heads": heads, "exit_code": int(ExitCode.DONE)}) if form == "json" else str(heads)
        )


def _run(relay: Relay, stop: threading.Event) -> None:
    try:
        relay.run(stop)
    except BaseException:
        relay.failed = True
        stop.set()
        raise
