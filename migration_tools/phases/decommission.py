"""cutover → decommission: prove that nobody uses the old tables, dump them, put them away."""

from collections.abc import Iterator
from typing import Any

from migration_tools.capture.models import Side
from migration_tools.errors import StillWatching
from migration_tools.phases import gates
from migration_tools.phases.ports import Evidence, Executor, Finding
from migration_tools.phases.surroundings import Surroundings


class Decommission:
    """Undone by bringing the tables back and carrying the service's rows into them."""

    def look(self, env: Surroundings) -> Iterator[Finding]:
        """Soaked, both consumers timely, nothing parked, no saga left in the monolith, no shadow read of it."""
        yield "soaked", gates.soaked(env)
        yield "no_dead_letters", gates.no_dead_letters(env)
        yield "no_pinned_sagas", gates.no_pinned_sagas(env)
        yield "not_shadowed", gates.not_shadowed(env)
        yield "consumer_alive", [each for side in Side for each in gates.consumer_alive(env, side)]
        yield "lag_small", [each for side in Side for each in gates.lag_small(env, side)]

    def start(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Cut references, stop carrying back, watch, dump and move.

        A reader found takes the first steps back; a watch of days keeps them.
        """
        evidence = {**executor.cut_references(), **executor.stop_carrying_back()}
        try:
            evidence |= executor.prove_quiet()
        except StillWatching:
            raise
        except Exception:
            self.rollback(executor, options)
            raise
        return {**evidence, **executor.archive()}

    def rollback(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Bring back, catch up, restore references."""
        return {**executor.unarchive(), **executor.carry_back_all(), **executor.restore_references()}
