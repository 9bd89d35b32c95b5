"""How far a context's copy is, how fast it goes, when it will be done and what holds it."""

import datetime as dt
from typing import Any

from migration_tools.phases.surroundings import Surroundings
from migration_tools.state.models import Sample
from migration_tools.stores.postgres.catalog import estimated_rows
from migration_tools.transfer.control import read_control

RATE_OVER_SECONDS = 60.0


def read_copied(env: Surroundings, since: list[Sample]) -> dict[str, Any]:
    """Rows by projection, in all, the rate of the last minute and what is left of the time at that rate."""
    relations = [each for each in env.compiled.source.relations if each.kind == "r"]
    rows = dict(
        (str(name), (int(count), bool(done)))
        for name, count, done in env.target.execute(
            "SELECT projection, rows, done FROM strangle_copied_range WHERE stream = %s", [env.context]
        ).fetchall()
    )
    projections: list[dict[str, Any]] = []
    for each in relations:
        count, done = rows.get(each.projection, (0, False))
        total = max(estimated_rows(env.source, each.source_table), count)
        projections.append(
            {
                "projection": each.projection,
                "table": each.target_table,
                "rows": count,
                "total": count if done else total,
                "done": done,
            }
        )
    copied, total = sum(p["rows"] for p in projections), sum(p["total"] for p in projections)
    finished = bool(projections) and all(p["done"] for p in projections)
    rate = 0.0 if finished else _rate(since, copied)
    control = read_control(env.context)
    return {
        "projections": projections,
        "rows": copied,
        "total": total,
        "done": finished,
        "begun": bool(rows),
        "percent": 100.0 if finished else round(min(100 * copied / total, 99.9), 1) if total else 0.0,
        "rate": round(rate, 1),
        "eta_seconds": None if finished or rate <= 0 else round((total - copied) / rate),
        "holding": control.holding,
        "wish": control.wish.value,
        "why": str(control) if control.wish.value != "run" else "",
    }


def _rate(since: list[Sample], copied: int) -> float:
    """Rows a second over the last minute, or since the copy began to move in it; 0 without an earlier sample."""
    if not since:
        return 0.0
    now = dt.datetime.now(tz=dt.UTC)
    recent = [each for each in since if (now - each.at).total_seconds() <= RATE_OVER_SECONDS]
    if not recent:
        return 0.0
    counts = [int(each.figures.get("copied", copied)) for each in recent]
    still = next((at for at, count in enumerate([*counts[1:], copied]) if count != counts[0]), len(counts) - 1)
    seconds = (now - recent[still].at).total_seconds()
    return max(copied - counts[still], 0) / seconds if seconds > 0 else 0.0
