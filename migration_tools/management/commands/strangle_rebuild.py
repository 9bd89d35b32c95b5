"""Build a read model anew beside the live one, and put it in its place."""

import json
import sys
import threading
from typing import Any

from django.core.management.base import CommandError, CommandParser

from migration_tools.conf import settings
from migration_tools.errors import ExitCode
from migration_tools.kernel.locks import LockClass
from migration_tools.management.examples import Examples
from migration_tools.management.signals import heed_signals, watch
from migration_tools.messaging.transports import open_feed
from migration_tools.projections.rebuild import Rebuild
from migration_tools.projections.registry import get
from migration_tools.stores.postgres import advisory, connect


class Command(Examples):
    """Goes on where it was cut off; the live tables are read and filled meanwhile."""

    help = "Build a read model anew beside live traffic and swap it in."
    examples = ("order_summary",)
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("read_model", help="the read model, by its name")
        parser.add_argument(
            "--after",
            action="append",
            default=[],
            metavar="STREAM=N",
            help="begin in this stream after this position, which strangle_state_events printed (default: 0)",
        )
        parser.add_argument("--discard", action="store_true", help="drop what was built so far, and build nothing")
        parser.add_argument("--dry-run", action="store_true", help="tell the plan in sentences; touch nothing")
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        with heed_signals(stop):
            result = self._operate(options, stop)
        if options["format"] == "json":
            self.stdout.write(json.dumps(result))
            return
        for at, sentence in enumerate(result.get("plan", []), 1):
            self.stdout.write(f"{at}. {sentence}")
        self.stdout.write(result["message"])

    def _operate(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        model = get(options["read_model"])
        quiet = options["format"] == "json"
        shown = watch(stop, quiet=quiet).progress
        rebuild = Rebuild(model, open_feed, after=_positions(options["after"]), progress=shown)
        named = {"read_model": model.name}
        if options["dry_run"]:
            return {**named, "plan": rebuild.plan(), "message": "nothing was touched"}
        with connect(settings().DATABASE, f"rebuild {model.name}") as conn:
            if not advisory.try_hold(conn, LockClass.REBUILD, model.name):
                who = advisory.holder(conn, LockClass.REBUILD, model.name)
                raise CommandError(
                    f"{who} rebuilds {model.name!r} now; wait until it is done", returncode=ExitCode.LOCKED
                )
            if options["discard"]:
                dropped = rebuild.discard()
                return {**named, "message": "what was built is dropped" if dropped else "nothing was being built"}
            done = rebuild.run(stop, (lambda _: None) if quiet else self._say)
        read = ", ".join(f"{count} records of {stream}" for stream, count in done.events.items())
        message = f"{model.name!r} is served from slot {done.slot} (read {read})"
        return {**named, "slot": done.slot, "resumed": done.resumed, "records": done.events, "message": message}

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def _positions(given: list[str]) -> dict[str, int]:
    found = {}
    for each in given:
        stream, _, position = each.partition("=")
        if not stream or not position.isdecimal():
            raise CommandError(f"--after is {each!r}; write it as STREAM=N", returncode=ExitCode.USAGE)
        found[stream] = int(position)
    return found
