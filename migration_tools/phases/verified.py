"""backfill → verify: enough clean comparisons in a row; nothing is changed by entering or leaving."""

from typing import Any

from migration_tools.capture.models import Side
from migration_tools.phases import gates
from migration_tools.phases.ports import Evidence, Executor
from migration_tools.phases.surroundings import Surroundings


class Verified:
    """The evidence itself is made by strangle_verify, in any phase."""

    def check(self, env: Surroundings) -> list[str]:
        """Clean verifications, living and timely consumers."""
        return [
            *gates.verified(env),
            *gates.consumer_alive(env, Side.SOURCE),
            *gates.lag_small(env, Side.SOURCE),
        ]

    def start(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Nothing to do: the evidence is in."""
        return {}

    def rollback(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Nothing to undo."""
        return {}
