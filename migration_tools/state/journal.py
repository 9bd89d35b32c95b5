"""Write and read the journal and the phase; only the phases call the writing half."""

from typing import Any

from migration_tools.conf import settings
from migration_tools.kernel.actors import actor
from migration_tools.state.models import Context, JournalEntry
from migration_tools.state.phase import Phase

__all__ = ["actor", "last_evidence", "phase_of", "read_context", "record"]


def record(
    context: str, move: str, step: str, evidence: dict[str, Any] | None = None, reason: str = "", *, by: str = ""
) -> None:
    """Append one entry, of who runs this or `by` whom it was asked for."""
    JournalEntry.objects.using(settings().DATABASE).create(
        context=context, move=move, step=step, actor=by or actor(), reason=reason, evidence=evidence or {}
    )


def last_evidence(context: str, step: str) -> dict[str, Any] | None:
    """What the newest entry of a step holds; None when there is none."""
    entries = JournalEntry.objects.using(settings().DATABASE).filter(context=context, step=step)
    found = entries.order_by("-id").values_list("evidence", flat=True).first()
    return None if found is None else dict(found)


def read_context(context: str) -> Context:
    """The context's row, made on first sight."""
    return Context.objects.using(settings().DATABASE).get_or_create(name=context)[0]


def phase_of(context: str) -> Phase:
    """The phase a context is in: the cheap read that anything may ask."""
    row = Context.objects.using(settings().DATABASE).filter(name=context).values_list("phase", flat=True).first()
    return Phase(row) if row else Phase.MONOLITH_ONLY
