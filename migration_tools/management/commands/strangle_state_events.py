"""Publish what a stream's aggregates are now as events, so that read models can be built without older ones."""

import json
import sys
import threading
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.utils import Error as DatabaseFailure

from migration_tools.conf import settings
from migration_tools.errors import ExitCode, Interrupted, StrangleError
from migration_tools.kernel.locks import LockClass
from migration_tools.management.examples import Examples
from migration_tools.management.operation import heed_signals
from migration_tools.projections.state_events import CHUNK_ROWS, declared, publish_state
from migration_tools.stores.postgres import advisory, connect, describe_failure, errors


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
        try:
            with heed_signals(stop):
                result = self._plan(options) if options["dry_run"] else self._publish(options, stop)
        except StrangleError as error:
            raise CommandError(str(error), returncode=error.exit_code) from error
        except (DatabaseFailure, errors.Error) as error:
            raise CommandError(
                f"the database failed: {describe_failure(error)}; what is committed is kept. Run the same command again"
            ) from error
        self.stdout.write(json.dumps(result) if options["format"] == "json" else result["message"])

    def _plan(self, options: dict[str, Any]) -> dict[str, Any]:
        alias = settings().DATABASE
        counts = {kind.event_type: kind.queryset().using(alias).count() for kind in declared(options["stream"])}
        said = ", ".join(f"{count} of {name}" for name, count in counts.items()) or "nothing is declared"
        return {"stream": options["stream"], "rows": counts, "message": f"would publish {said}; nothing was touched"}

    def _publish(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        stream, quiet = options["stream"], options["format"] == "json"
        with connect(settings().DATABASE, f"state events {stream}") as conn:
            if not advisory.try_hold(conn, LockClass.REBUILD, f"state {stream}"):
                who = advisory.holder(conn, LockClass.REBUILD, f"state {stream}")
                raise CommandError(f"{who} publishes the state of {stream!r} now", returncode=ExitCode.LOCKED)
            for progress in publish_state(stream, chunk_rows=options["chunk_rows"]):
                if not quiet:
                    print(f"{progress.rows} events", file=sys.stderr, flush=True)
                if stop.is_set() and not progress.done:
                    raise Interrupted(f"interrupted after {progress.rows} events; run the same command again to go on")
        return {
            "stream": stream,
            "rows": progress.rows,
            "head": progress.head,
            "message": f"{progress.rows} events say the state of {stream!r}; when the relay has numbered them, read "
            f"models can be built with: strangle_rebuild NAME --after {stream}={progress.head}",
        }
