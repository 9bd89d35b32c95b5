"""Publish what a stream's aggregates are now as events, so that read models can be built without older ones."""

import json
import threading
from typing import Any

from django.core.management.base import CommandError, CommandParser

from migration_tools.conf import settings
from migration_tools.errors import ExitCode
from migration_tools.kernel.locks import LockClass
from migration_tools.management.examples import Examples
from migration_tools.management.signals import heed_signals, watch
from migration_tools.projections.state_events import CHUNK_ROWS, declared, publish_state
from migration_tools.stores.postgres import advisory, connect


class Command(Examples):
    """Chunk by chunk, each in a transaction of its own; goes on where it was cut off."""

    help = "Publish the state of a stream's aggregates as events."
    examples = ("users",)
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("stream", help="a stream that this side publishes")
        parser.add_argument("--chunk-rows", type=int, default=CHUNK_ROWS, help="rows locked and published at a time")
        parser.add_argument("--dry-run", action="store_true", help="tell what would be published; touch nothing")
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["chunk_rows"] < 1:
            raise CommandError("--chunk-rows is 1 or more", returncode=ExitCode.USAGE)
        stop = threading.Event()
        with heed_signals(stop):
            result = self._plan(options) if options["dry_run"] else self._publish(options, stop)
        self.stdout.write(json.dumps(result) if options["format"] == "json" else result["message"])

    def _plan(self, options: dict[str, Any]) -> dict[str, Any]:
        counts = _counts(options["stream"])
        said = ", ".join(f"{count} of {name}" for name, count in counts.items()) or "nothing is declared"
        return {"stream": options["stream"], "rows": counts, "message": f"would publish {said}; nothing was touched"}

    def _publish(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        stream, watched = options["stream"], watch(stop, quiet=options["format"] == "json")
        with connect(settings().DATABASE, f"state events {stream}") as conn:
            if not advisory.try_hold(conn, LockClass.REBUILD, f"state {stream}"):
                who = advisory.holder(conn, LockClass.REBUILD, f"state {stream}")
                raise CommandError(f"{who} publishes the state of {stream!r} now", returncode=ExitCode.LOCKED)
            steps = publish_state(stream, chunk_rows=options["chunk_rows"])
            progress = next(steps)
            with watched.progress(f"publish {stream}", sum(_counts(stream).values()), progress.rows) as bar:
                while not progress.done:
                    watched.heed(f"interrupted after {progress.rows} events; run the same command again to go on")
                    before, progress = progress, next(steps)
                    bar.advance(progress.rows - before.rows)
        return {
            "stream": stream,
            "rows": progress.rows,
            "head": progress.head,
            "message": f"{progress.rows} events say the state of {stream!r}; when the relay has numbered them, read "
            f"models can be built with: strangle_rebuild NAME --after {stream}={progress.head}",
        }


def _counts(stream: str) -> dict[str, int]:
    """How many rows there are to publish, by event type."""
    return {kind.event_type: kind.queryset().using(settings().DATABASE).count() for kind in declared(stream)}
