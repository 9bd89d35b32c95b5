"""The pytest plugin: `interleavings`, `outbox`, `drain`, `faults`, and `context_guard` of testing.coupling."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from migration_tools.testing.model.exploration import LARGEST, Exploration, explore
from migration_tools.testing.model.protocol import Protocol
from migration_tools.testing.model.transactions import Transaction
from migration_tools.testing.model.world import SIDES, Scenario

if TYPE_CHECKING:
    from migration_tools.playbook import Playbook
    from migration_tools.testing.outboxes import Faults, OutboxWatch

pytest_plugins = ["migration_tools.testing.coupling"]
EXPLORED = pytest.StashKey[list[str]]()


class InterleavingFound(AssertionError):
    """A schedule breaks a property; the message is the shortest one."""


class Interleavings:
    """Call it with one to three transactions, and say which processes of the toolkit run beside them."""

    def __init__(self, told: list[str], name: str):
        self._told = told
        self._name = name

    def __call__(
        self,
        *transactions: Transaction,
        rows: Mapping[int, str] | None = None,
        chunks: Sequence[int | None] = (),
        owners: Sequence[str] = (),
        crashes: int = 0,
        unique: bool = False,
        largest: int = LARGEST,
        protocol: Protocol | None = None,
    ) -> Exploration:
        """Explore beside relay and consumer, and beside the copy (`chunks`) and the hand-overs (`owners`) asked for.

        Args:
            transactions: see migration_tools.testing.model.transactions.
            rows: rows there at the start, value by key.
            chunks: upper keys of the chunks to copy, the last of them None; without any the history is copied already.
            owners: whom the context is handed over to, in turn: ["service"], or ["service", "monolith"].
            crashes: how many processes of the toolkit may die, each at any step.
            unique: whether the table's value is unique.
            largest: how many states are too many.
            protocol: other decisions than the engine's, to see a check fail once.

        Raises:
            InterleavingFound: with the shortest schedule that breaks a property.
            TooManyStates: nothing is proven.
        """
        scenario = Scenario(
            name=self._name,
            transactions=transactions,
            rows=tuple(sorted((rows or {}).items())),
            chunks=tuple(chunks),
            moves=_alternating(owners),
            crashes=crashes,
            unique=unique,
            protocol=protocol or Protocol(),
        )
        return self._explore(scenario, largest)

    def of(
        self, playbook: "type[Playbook]", *, largest: int = LARGEST, protocol: Protocol | None = None
    ) -> list[Exploration]:
        """Explore what the playbook's projections call for: copy, changed keys, hand-over and rollback.

        Which of them, and with what beside them, follows from the declaration and its models: unique columns, columns
        joined from other tables, keys drawn from a sequence, tables that stay where they are.

        Raises:
            InterleavingFound, TooManyStates: as for declared transactions.
        """
        from migration_tools.testing.model.playbooks import scenarios

        return [self._explore(replace(each, protocol=protocol or Protocol()), largest) for each in scenarios(playbook)]

    def _explore(self, scenario: Scenario, largest: int) -> Exploration:
        found = explore(scenario, largest=largest)
        self._told.append(str(found))
        if not found.holds:
            raise InterleavingFound(str(found))
        return found


@pytest.fixture
def interleavings(request: pytest.FixtureRequest) -> Interleavings:
    """Explore every interleaving of declared transactions with the toolkit's protocol."""
    return Interleavings(request.config.stash.setdefault(EXPLORED, []), request.node.name)


@pytest.fixture
def outbox(db: Any) -> "OutboxWatch":
    """What the test published and captured; the transaction that surrounds a test hides nothing from it."""
    from migration_tools.testing.outboxes import OutboxWatch

    return OutboxWatch()


@pytest.fixture
def drain(transactional_db: Any) -> "Callable[..., int]":
    """`drain("orders", sender="default", receiver="orders")`: relay and consumer, until nothing is left."""
    from migration_tools.testing.outboxes import drain

    return drain


@pytest.fixture
def faults() -> "Faults":
    """`with faults.dies_at("copy.before_commit"): …` ends the toolkit's code at a named point."""
    from migration_tools.testing.outboxes import Faults

    return Faults()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many states were visited: a check that visits few has checked little."""
    explored = config.stash.get(EXPLORED, [])
    if explored:
        terminalreporter.section("interleavings explored", sep="-")
        for line in explored:
            terminalreporter.write_line(line.splitlines()[0])


def _alternating(owners: Sequence[str]) -> tuple[int, ...]:
    expected = [SIDES[1 - turn % 2] for turn in range(len(owners))]
    if list(owners) != expected:
        raise ValueError(f"owners {list(owners)!r}; the monolith owns first, so hand over to {expected!r}")
    return tuple(SIDES.index(owner) for owner in owners)
