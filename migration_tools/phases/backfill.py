"""dual_write → backfill: copy the history beside live writes."""

from typing import Any

from migration_tools.capture.models import Side
from migration_tools.phases import gates
from migration_tools.phases.ports import Evidence, Executor
from migration_tools.phases.surroundings import Surroundings


class Backfill:
    """Resumable; entered when every projection is copied to its end."""

    def check(self, env: Surroundings) -> list[str]:
        """Capture is as declared, and the sync is alive."""
        return [*gates.capture_installed(env), *gates.consumer_alive(env, Side.SOURCE)]

    def start(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Copy."""
        return executor.copy_history()

    def rollback(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Drop the copied rows; the sync goes on."""
        return executor.clear_target()
