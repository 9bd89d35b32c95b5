"""Look at parked events, have them handled again, or give them up with a reason."""

import json
import logging
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from migration_tools.conf import settings
from migration_tools.errors import ExitCode
from migration_tools.messaging.context import Causality, caused_by
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import find
from migration_tools.messaging.models import DeadLetter

log = logging.getLogger(__name__)


class Command(BaseCommand):
    """list | show | replay | skip, on this side's parked events of one stream."""

    help = "List, show, replay or skip events whose handler failed. Example: strangle_dead_letters list orders"
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["list", "show", "replay", "skip"])
        parser.add_argument("stream")
        parser.add_argument("--position", type=int, help="one event (default for replay: all, in order)")
        parser.add_argument("--reason", default="", help="why an event may be given up; needed by skip")
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        letters = DeadLetter.objects.using(settings().DATABASE).filter(stream=options["stream"]).order_by("position")
        if options["position"] is not None:
            letters = letters.filter(position=options["position"])
            if not letters:
                raise CommandError(f"no event of {options['stream']!r} is parked at position {options['position']}")
        result = getattr(self, f"_{options['action']}")(list(letters), options)
        if options["format"] == "json":
            self.stdout.write(json.dumps(result, default=str))
            return
        for row in result["events"]:
            self.stdout.write(f"{row['position']}  {row['type']}  {row['aggregate']}  {row['reason']}")
        self.stdout.write(result["message"])

    def _list(self, letters: list[DeadLetter], options: dict[str, Any]) -> dict[str, Any]:
        return {"events": [_row(each) for each in letters], "message": f"{len(letters)} events are parked"}

    def _show(self, letters: list[DeadLetter], options: dict[str, Any]) -> dict[str, Any]:
        rows = [{**_row(each), "envelope": each.envelope} for each in letters]
        return {"events": rows, "message": f"{len(letters)} events; --format json shows them whole"}

    def _replay(self, letters: list[DeadLetter], options: dict[str, Any]) -> dict[str, Any]:
        """Each event in a transaction of its own, in order; the first that fails again keeps its place."""
        done: list[dict[str, Any]] = []
        for letter in letters:
            event = Envelope.from_json(letter.envelope)
            chain = Causality(
                correlation_id=event.correlation_id or str(event.event_id), causation_id=str(event.event_id)
            )
            try:
                with transaction.atomic(using=settings().DATABASE), caused_by(chain):
                    # Locked, so that two operators do not handle one event twice.
                    held = DeadLetter.objects.using(settings().DATABASE).select_for_update().filter(pk=letter.pk)
                    if not held:
                        continue
                    for handler in find(event):
                        handler.function(event)
                    held.delete()
            except Exception as error:
                raise CommandError(
                    f"the event at position {letter.position} failed again: {type(error).__name__}: {error}; it and "
                    f"later ones stay parked ({len(done)} were handled). Mend its handler, then replay again",
                    returncode=ExitCode.ERROR,
                ) from error
            done.append(_row(letter))
        return {"events": done, "message": f"{len(done)} events were handled"}

    def _skip(self, letters: list[DeadLetter], options: dict[str, Any]) -> dict[str, Any]:
        if options["position"] is None or not options["reason"]:
            raise CommandError("skip needs --position and --reason: its effect is lost", returncode=ExitCode.USAGE)
        rows = [_row(each) for each in letters]
        for letter in letters:
            letter.delete()
        log.warning("given up %s events of %s: %s", len(rows), options["stream"], options["reason"])
        if apps.is_installed("migration_tools.state"):
            from migration_tools.state.journal import record

            positions = [row["position"] for row in rows]
            record(options["stream"], "dead letters", "skipped", {"positions": positions}, options["reason"])
        return {"events": rows, "reason": options["reason"], "message": f"given up: {options['reason']}"}


def _row(letter: DeadLetter) -> dict[str, Any]:
    return {
        "position": letter.position,
        "type": letter.envelope.get("eventType"),
        "aggregate": f"{letter.aggregate_type}/{letter.aggregate_id}",
        "reason": letter.reason,
        "parked_at": letter.parked_at,
    }
