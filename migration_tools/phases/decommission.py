"""cutover → decommission: prove that nobody uses the old tables, dump them, put them away."""

from typing import Any

from migration_tools.capture.models import Side
from migration_tools.phases import gates
from migration_tools.phases.ports import Evidence, Executor
from migration_tools.phases.surroundings import Surroundings


class Decommission:
    """Undone by bringing the tables back and carrying the service's rows into them."""

    def check(self, env: Surroundings) -> list[str]:
        """Soaked, both consumers timely, nothing parked, no saga left in the monolith, no shadow read of it."""
        missing = [
            *gates.soaked(env),
            *gates.no_dead_letters(env),
            *gates.no_pinned_sagas(env),
            *gates.not_shadowed(env),
        ]
        for side in Side:
            missing += [*gates.consumer_alive(env, side), *gates.lag_small(env, side)]
        return missing

    def start(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Cut references, stop carrying back, watch, dump and move; a reader found takes the first steps back."""
        evidence = {**executor.cut_references(), **executor.stop_carrying_back()}
        try:
            evidence |= executor.prove_quiet()
        except Exception:
            self.rollback(executor, options)
            raise
        return {**evidence, **executor.archive()}

    def rollback(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Bring back, catch up, restore references."""
        return {**executor.unarchive(), **executor.carry_back_all(), **executor.restore_references()}
