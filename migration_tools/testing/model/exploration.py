"""Explore every interleaving of a scenario, breadth first, each state once: the first violation found is a shortest."""

import time
from collections import deque
from dataclasses import dataclass

from migration_tools.testing.model.operators import copier_steps, install_steps, mover_steps
from migration_tools.testing.model.properties import broken, unfinished
from migration_tools.testing.model.streams import consumer_steps, relay_steps
from migration_tools.testing.model.world import Scenario, World, settled
from migration_tools.testing.model.writers import Steps, writer_steps

LARGEST = 400_000


class TooManyStates(Exception):
    """The scenario is larger than the bound: nothing is proven."""


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """What was found: how many states, and the shortest way to a wrong one, if there is any."""

    scenario: str
    states: int
    ends: int
    seconds: float
    violation: str = ""
    trace: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether no interleaving breaks a property."""
        return not self.violation

    def __str__(self) -> str:
        head = f"{self.scenario}: {self.states} states, {self.ends} ends, {self.seconds:.1f} s"
        if self.holds:
            return f"{head}; every property holds"
        steps = "\n".join(f"  {number:2}. {step}" for number, step in enumerate(self.trace, 1))
        return f"{head}\n{steps}\n  => {self.violation}"


def explore(scenario: Scenario, *, largest: int = LARGEST) -> Exploration:
    """Visit every state that the scenario can reach.

    Raises:
        TooManyStates: there are more than `largest`.
    """
    started = time.monotonic()
    first = settled(scenario.begin())
    came_from: dict[World, tuple[World, str] | None] = {first: None}
    queue = deque([first])
    ends = 0

    def result(violation: str = "", last: World | None = None) -> Exploration:
        return Exploration(
            scenario=scenario.name,
            states=len(came_from),
            ends=ends,
            seconds=time.monotonic() - started,
            violation=violation,
            trace=_trace(came_from, last),
        )

    while queue:
        world = queue.popleft()
        steps = next_steps(scenario, world)
        if all(after.crashes < world.crashes for _, after in steps):
            # Nothing goes on but what a crash would set free, and nobody has to crash.
            ends += 1
            violation = unfinished(scenario, world)
            if violation:
                return result(violation, world)
        for label, after in steps:
            state = settled(after)
            if state in came_from:
                continue
            came_from[state] = (world, label)
            violation = broken(scenario, state)
            if violation:
                return result(violation, state)
            if len(came_from) > largest:
                raise TooManyStates(
                    f"scenario {scenario.name!r} has more than {largest} states; leave out a statement or a crash"
                )
            queue.append(state)
    return result()


def next_steps(scenario: Scenario, world: World) -> Steps:
    """Every step that anybody may take in a state."""
    steps: Steps = []
    for index in range(len(world.writers)):
        steps += writer_steps(scenario, world, index)
    steps += install_steps(scenario, world)
    sides = (0, 1) if scenario.moves or scenario.protocol.apply_captured else (0,)
    for side in sides:
        steps += relay_steps(scenario, world, side)
        steps += consumer_steps(scenario, world, 1 - side)
    steps += copier_steps(scenario, world)
    return steps + mover_steps(scenario, world)


def _trace(came_from: dict[World, tuple[World, str] | None], last: World | None) -> tuple[str, ...]:
    labels = []
    while last is not None and (step := came_from[last]) is not None:
        last, label = step
        labels.append(label)
    return tuple(reversed(labels))
