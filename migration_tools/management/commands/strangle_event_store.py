"""Tend an event store: take the snapshots that are due, drop them, write out what happened."""

import datetime as dt
import json
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.core.management.base import CommandParser

from migration_tools.errors import SettingsError
from migration_tools.management.examples import Examples
from migration_tools.management.rehearsal import rolled_back
from migration_tools.management.signals import heed_signals


class Command(Examples):
    """`snapshots --every` works until SIGTERM; everything else ends by itself."""

    help = "Take or drop snapshots, or export events for audit."
    examples = ("snapshots account",)
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        take = actions.add_parser("snapshots", help="take those that are due")
        take.add_argument("--events", type=int, default=100, help="due after so many events since the last one")
        take.add_argument("--hours", type=float, default=24.0, help="or so long after the last one, if it changed")
        take.add_argument("--every", type=float, help="look again every so many seconds, until SIGTERM")
        drop = actions.add_parser("drop-snapshots", help="drop all; the next read takes longer, nothing else changes")
        audit = actions.add_parser("audit", help="one JSON object a line: who, when, why and what, as it was stored")
        audit.add_argument("--aggregate", type=UUID, help="of this one only")
        audit.add_argument("--since", type=dt.datetime.fromisoformat, help="stored at or after this moment")
        for each in (take, drop, audit):
            each.add_argument("aggregate_type", help="as its Aggregates declare it")
        for each in (take, drop):
            each.add_argument("--dry-run", action="store_true", help="say how many; touch nothing")
            each.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        with heed_signals(stop):
            self._operate(options, stop)

    def _operate(self, options: dict[str, Any], stop: threading.Event) -> None:
        try:
            from migration_tools.eventstore.store import find
        except ModuleNotFoundError as error:
            raise SettingsError(
                f"{error.name!r} is not installed; pip install 'django-strangler[eventstore]'"
            ) from error
        from migration_tools.eventstore import snapshots
        from migration_tools.stores.postgres.patience import waited_for

        aggregates, name = find(options["aggregate_type"]), options["aggregate_type"]
        match options["action"]:
            case "snapshots":
                policy = snapshots.Policy(events=options["events"], hours=options["hours"])
                if options["dry_run"]:
                    number = len(snapshots.due(aggregates, policy, limit=None))
                    return self._tell(options, "due", number, f"{number} snapshots of {name!r} would be taken")
                if options["every"] is None:
                    return self._take(options, snapshots.take_due(aggregates, policy, stop))
                while not stop.is_set():
                    with waited_for(aggregates.alias, stop, "snapshots"):
                        self._take(options, snapshots.take_due(aggregates, policy, stop))
                        stop.wait(options["every"])
            case "drop-snapshots":
                with rolled_back(aggregates.alias) if options["dry_run"] else nullcontext():
                    number = snapshots.drop(aggregates)
                told = "would be dropped; nothing was touched" if options["dry_run"] else "dropped"
                self._tell(options, "dropped", number, f"{number} snapshots of {name!r} {told}")
            case _:
                for line in _lines(aggregates.history(options["aggregate"], since=options["since"])):
                    self.stdout.write(line)

    def _take(self, options: dict[str, Any], taken: Iterator[Any]) -> None:
        number = len(list(taken))
        self._tell(options, "taken", number, f"{number} snapshots of {options['aggregate_type']!r} taken")

    def _tell(self, options: dict[str, Any], name: str, number: int, message: str) -> None:
        told = {name: number, "dry_run": options["dry_run"], "message": message}
        self.stdout.write(json.dumps(told) if options["format"] == "json" else message)


def _lines(events: Iterator[Any]) -> Iterator[str]:
    from migration_tools.eventstore.values import plain

    for event in events:
        yield json.dumps(plain({name: plain(value) for name, value in asdict(event).items()}), ensure_ascii=False)
