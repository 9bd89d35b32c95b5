"""Every hand-over of a context as its journal tells it."""

import datetime as dt
from typing import Any

from django.utils import timezone

from migration_tools.conf import settings
from migration_tools.reports.cutover import CutoverReport, Failure, HandOverRecord
from migration_tools.state.journal import read_context
from migration_tools.state.models import JournalEntry

MOVES = ("to cutover", "undo cutover")


def read_hand_overs(context: str) -> CutoverReport:
    """Read them, the oldest first, with what was tried in vain since the first."""
    row = read_context(context)
    began: dict[str, dt.datetime] = {}
    done: list[HandOverRecord] = []
    failed: list[Failure] = []
    entries = JournalEntry.objects.using(settings().DATABASE).filter(context=context, move__in=MOVES)
    for entry in entries.order_by("id"):
        if entry.step == "started":
            began[entry.move] = entry.at
        elif entry.step == "handed_over":
            done.append(_record(entry, began.pop(entry.move, entry.at)))
        elif entry.step in {"failed", "broken"}:
            kind, _, text = str(entry.evidence.get("error", "")).partition(": ")
            failed.append(Failure(at=moment(entry.at), step=entry.step, kind=kind, error=text))
    return CutoverReport(
        context=context,
        at=moment(timezone.now()),
        phase=row.phase,
        open_move=row.move if row.move in MOVES else "",
        hand_overs=done,
        failures=failed,
    )


def moment(at: dt.datetime) -> str:
    """A time as reports write it."""
    return f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _record(entry: JournalEntry, began: dt.datetime) -> HandOverRecord:
    said: dict[str, Any] = entry.evidence
    return HandOverRecord(
        entry=entry.pk,
        move=entry.move,
        to="monolith" if entry.move.startswith("undo") else "service",
        began=moment(began),
        at=moment(entry.at),
        actor=entry.actor,
        reason=entry.reason,
        epoch=int(said["epoch"]),
        position=int(said.get("position", 0)),
        drained=int(said.get("drained_events", 0)),
        attempts=int(said.get("attempts", 0)),
        proxies=int(said.get("proxies", 0)),
        pause_ms=float(said.get("pause_ms", 0.0)),
        seconds=float(said.get("seconds", 0.0)),
    )
