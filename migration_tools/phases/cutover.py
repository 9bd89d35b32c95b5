"""switch_reads → cutover: the service owns the writes, which are carried back so that the way back is open."""

from typing import Any

from migration_tools.capture.models import Side
from migration_tools.phases import gates
from migration_tools.phases.ports import Evidence, Executor
from migration_tools.phases.surroundings import Surroundings
from migration_tools.routing import publishing


class Cutover:
    """Forward and back are the same hand-over with the sides swapped."""

    def check(self, env: Surroundings) -> list[str]:
        """Both consumers live and timely, capture as declared, verified, soaked, all reads on the service."""
        missing = [
            *gates.capture_installed(env),
            *gates.verified(env),
            *gates.no_dead_letters(env),
            *gates.no_open_sagas(env),
            *gates.soaked(env),
            *gates.writes_can_wait(env),
        ]
        for side in Side:
            missing += [*gates.consumer_alive(env, side), *gates.lag_small(env, side)]
        route = publishing.current().contexts.get(env.context)
        if route is not None:
            missing += publishing.silent_proxies()
        if route is not None and route.reads_percent < 100:
            missing.append(
                f"only {route.reads_percent:g} % of the reads are on the service; run strangle_switch_reads "
                f"{env.context} --percent 100"
            )
        return missing

    def start(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Hand over to the service."""
        return executor.hand_over(Side.TARGET)

    def rollback(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Hand back to the monolith; what was written meanwhile is there already."""
        return executor.hand_over(Side.SOURCE)
