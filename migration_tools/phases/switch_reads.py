"""verify → switch_reads: let the service answer reads, by share, sticky per user."""

from collections.abc import Iterator
from typing import Any

from migration_tools.capture.models import Side
from migration_tools.phases import gates
from migration_tools.phases.ports import Evidence, Executor, Finding
from migration_tools.phases.surroundings import Surroundings


class SwitchReads:
    """The share may be changed again while in this phase, without a move."""

    def look(self, env: Surroundings) -> Iterator[Finding]:
        """Verified, and the service is timely."""
        yield "verified", gates.verified(env)
        yield "consumer_alive", gates.consumer_alive(env, Side.SOURCE)
        yield "lag_small", gates.lag_small(env, Side.SOURCE)
        yield "readers_stay", gates.readers_stay(env)

    def start(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Publish the share."""
        return executor.shift_reads(float(options.get("percent", 100)))

    def rollback(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Every read to the monolith again."""
        return executor.shift_reads(0)
