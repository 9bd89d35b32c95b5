"""dual_write → backfill: copy the history beside live writes."""

from collections.abc import Iterator
from typing import Any

from migration_tools.capture.models import Side
from migration_tools.phases import gates
from migration_tools.phases.ports import Evidence, Executor, Finding
from migration_tools.phases.surroundings import Surroundings


class Backfill:
    """Resumable; entered when every projection is copied to its end."""

    def look(self, env: Surroundings) -> Iterator[Finding]:
        """Capture is as declared, and the sync is alive."""
        yield "capture_installed", gates.capture_installed(env)
        yield "consumer_alive", gates.consumer_alive(env, Side.SOURCE)

    def start(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Copy."""
        return executor.copy_history()

    def rollback(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Drop the copied rows; the sync goes on."""
        return executor.clear_target()
