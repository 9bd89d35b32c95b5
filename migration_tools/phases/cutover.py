"""switch_reads → cutover: the service owns the writes, which are carried back so that the way back is open."""

from collections.abc import Iterator
from typing import Any

from migration_tools.capture.models import Side
from migration_tools.phases import gates
from migration_tools.phases.ports import Evidence, Executor, Finding
from migration_tools.phases.surroundings import Surroundings


class Cutover:
    """Forward and back are the same hand-over with the sides swapped."""

    def look(self, env: Surroundings) -> Iterator[Finding]:
        """Both consumers live and timely, capture as declared, verified, soaked, all reads on the service."""
        yield "capture_installed", gates.capture_installed(env)
        yield "verified", gates.verified(env)
        yield "no_dead_letters", gates.no_dead_letters(env)
        yield "no_open_sagas", gates.no_open_sagas(env)
        yield "soaked", gates.soaked(env)
        yield "writes_can_wait", gates.writes_can_wait(env)
        yield "consumer_alive", [each for side in Side for each in gates.consumer_alive(env, side)]
        yield "lag_small", [each for side in Side for each in gates.lag_small(env, side)]
        yield "all_reads_moved", gates.all_reads_moved(env)

    def start(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Hand over to the service."""
        return executor.hand_over(Side.TARGET)

    def rollback(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Hand back to the monolith; what was written meanwhile is there already."""
        return executor.hand_over(Side.SOURCE)
