"""Let the sagas of a context end before it changes hands: none begins, and none is open, while the owner changes.

Note [open sagas]. A saga that is open while its context is handed over has written on one side and would be undone on
the other. So the intake is closed first, which waits for those that are beginning; then the open ones are counted, and
with patience waited for. What is killed leaves an intake that opens by itself. With the option to pin, sagas stay open:
each goes on where it began, and its steps that write the context meet the fence there and are tried until it is back.
"""

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

from migration_tools.capture.models import Side
from migration_tools.conf import settings
from migration_tools.errors import GateNotMet
from migration_tools.kernel import points
from migration_tools.phases.ports import Evidence
from migration_tools.phases.surroundings import Surroundings
from migration_tools.sagas import intake
from migration_tools.sagas.intake import OpenSagas
from migration_tools.stores.postgres import errors, transaction

# The intake stays closed for longer than a hand-over may take, so that it does not open in the middle of one.
MARGIN_SECONDS = 60.0
LOOK_SECONDS = 0.05


def found_open(env: Surroundings) -> dict[Side, OpenSagas]:
    """The open sagas of the context on each side that keeps sagas."""
    found = {side: intake.open_sagas(env.connection(side), env.context) for side in Side}
    return {side: each for side, each in found.items() if each is not None}


def count_open(context: str, sagas: OpenSagas) -> str:
    """How many, as the beginning of a sentence."""
    return f"1 saga of {context!r} is open" if sagas.count == 1 else f"{sagas.count} sagas of {context!r} are open"


def say_open(context: str, side: Side, sagas: OpenSagas) -> str:
    """What is in the way, and the ways on."""
    return (
        f"{count_open(context, sagas)} on the {side.value}, the oldest for {sagas.oldest_seconds:.0f} s "
        f"({', '.join(sagas.oldest)}); wait for them, let them end with --drain-sagas SECONDS, leave them where they "
        f"began with --pin-sagas, or settle them (strangle_sagas list --context {context})"
    )


@contextmanager
def sagas_settled(env: Surroundings, to: Side) -> Iterator[Evidence]:
    """Let no saga of the context be open, or begin, for the block; yields what was found. See Note [open sagas].

    Raises:
        GateNotMet: sagas are open and were not to be waited for, or waited for too long; their intake is open again.
    """
    owner = env.owner(to.other)
    sides = list(found_open(env))
    if not sides or owner is None or not owner.may_write:
        # A hand-over that was cut off after it closed the old owner is completed whatever is open: nobody writes.
        yield {}
        return
    patience = float(env.options.get("drain_sagas") or 0.0)
    pinned = bool(env.options.get("pin_sagas"))
    try:
        for side in sides:
            _close(env, side, patience)
        points.reached("settling.closed")
        left = found_open(env) if pinned else _await_none(env, patience)
        if any(each.count for each in left.values()) and not pinned:
            blocking = [say_open(env.context, side, each) for side, each in left.items() if each.count]
            raise GateNotMet(env.context, f"owner {to.value}", blocking)
        yield {"pinned_sagas": sum(each.count for each in left.values())} if pinned else {}
    finally:
        for side in sides:
            # A database that is gone has an intake that opens by itself; what went wrong is told by what is raised.
            with contextlib.suppress(errors.Error):
                intake.reopen(env.connection(side), env.context)


def _close(env: Surroundings, side: Side, patience: float) -> None:
    """Close a side's intake, stepping back from whoever begins a saga in a long transaction."""
    budget = settings().CUTOVER_BUDGET_SECONDS
    deadline = time.monotonic() + budget
    conn = env.connection(side)
    while True:
        try:
            with transaction(conn, lock_timeout_seconds=settings().LOCK_TIMEOUT_SECONDS):
                intake.close(
                    conn, env.context, seconds=patience + budget + MARGIN_SECONDS, reason="the context is handed over"
                )
            return
        except errors.LockNotAvailable:
            if time.monotonic() > deadline:
                raise GateNotMet(
                    env.context,
                    "owner",
                    [f"a saga of {env.context!r} has been beginning on the {side.value} for {budget:g} s; end it"],
                ) from None
            env.wait(LOOK_SECONDS)


def _await_none(env: Surroundings, patience: float) -> dict[Side, OpenSagas]:
    deadline = time.monotonic() + patience
    told = False
    while True:
        left = found_open(env)
        if not any(each.count for each in left.values()) or time.monotonic() >= deadline:
            return left
        if not told:
            told = True
            env.say(f"waiting up to {patience:g} s for {sum(each.count for each in left.values())} open sagas to end")
        env.wait(LOOK_SECONDS)
