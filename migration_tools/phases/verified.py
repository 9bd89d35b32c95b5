"""backfill → verify: enough clean comparisons in a row; nothing is changed by entering or leaving."""

from collections.abc import Iterator
from typing import Any

from migration_tools.capture.models import Side
from migration_tools.phases import gates
from migration_tools.phases.ports import Evidence, Executor, Finding
from migration_tools.phases.surroundings import Surroundings


class Verified:
    """The evidence itself is made by strangle_verify, in any phase."""

    def look(self, env: Surroundings) -> Iterator[Finding]:
        """Clean verifications, living and timely consumers."""
        yield "verified", gates.verified(env)
        yield "consumer_alive", gates.consumer_alive(env, Side.SOURCE)
        yield "lag_small", gates.lag_small(env, Side.SOURCE)

    def start(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Nothing to do: the evidence is in."""
        return {}

    def rollback(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Nothing to undo."""
        return {}
