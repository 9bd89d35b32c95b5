"""Whether a context's decommission leaves its old tables as copies that follow, as the journal says."""

from typing import Any

from migration_tools.state.journal import last_evidence, phase_of, record
from migration_tools.state.models import Context
from migration_tools.state.phase import Phase

#: The first step of every decommission: which of the two ends it leads to.
CHOSEN = "chosen"


def choose(row: Context, *, keep: bool) -> None:
    """Write down to which end the decommission under way leads; the first thing that it does."""
    record(row.name, "decommission", CHOSEN, {"keep": keep, "move_began": _began(row)})


def chosen(row: Context) -> bool | None:
    """What the move under way has chosen; None before it has."""
    last = _last(row.name)
    return last["keep"] if row.move is not None and last.get("move_began") == _began(row) else None


def keeps_copies(context: str) -> bool:
    """Whether the last decommission, under way, done or being undone, leaves the old tables where they are.

    A move that was cut off before it chose has done nothing yet, so what the one before it left says how to undo it.
    """
    return bool(_last(context).get("keep"))


def is_kept(context: str) -> bool:
    """Whether the context has come to its end with its old tables as copies that follow the service."""
    return phase_of(context) is Phase.DECOMMISSION and keeps_copies(context)


def _last(context: str) -> dict[str, Any]:
    return last_evidence(context, CHOSEN) or {}


def _began(row: Context) -> str:
    return str(row.move_started_at)
