"""The limits of the throttle as the setting THROTTLE gives them, and the hours in which a copy may run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, time
from difflib import get_close_matches
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]|24):([0-5]\d)\Z")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Beyond any of these the next chunk waits; None switches a probe off. Documented in docs/reference/settings.md."""

    LAG_SECONDS: float | None = None
    WRITE_P99_SECONDS: float | None = 1.0
    ACTIVE_BACKENDS: int | None = None
    LOCK_WAITERS: int | None = 20
    REPLICA_LAG_SECONDS: float | None = None
    WAL_KEPT_BYTES: int | None = 16_000_000_000
    DEADLOCKS_PER_SECOND: float | None = 1.0
    ROLLBACKS_PER_SECOND: float | None = None
    HOURS: str = ""
    TIME_ZONE: str = "UTC"


def limit_mistakes(raw: Any) -> list[str]:
    """What is wrong with a value of THROTTLE, every mistake in a sentence; empty when it can be used."""
    if not isinstance(raw, Mapping):
        return [f"MIGRATION_TOOLS['THROTTLE'] is {type(raw).__name__}; it must be a dict"]
    known = {item.name for item in fields(Limits)}
    mistakes = []
    for name, value in raw.items():
        place = f"MIGRATION_TOOLS['THROTTLE'][{name!r}]"
        if name not in known:
            near = get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys are {sorted(known)}"
            mistakes.append(f"{place} is unknown; {hint}")
        elif name == "HOURS":
            mistakes += [f"{place}: {text}" for text in _hour_mistakes(value)]
        elif name == "TIME_ZONE":
            mistakes += [f"{place} is {value!r}; it must name a time zone"] if not _is_zone(value) else []
        elif value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            mistakes.append(f"{place} is {value!r}; it must be a number of at least 0, or None for no limit")
    return mistakes


def may_run_at(limits: Limits, moment: datetime) -> bool:
    """Whether the hours allow copying at this (aware) moment; a span may go past midnight, no span allows all."""
    if not limits.HOURS:
        return True
    local = moment.astimezone(ZoneInfo(limits.TIME_ZONE)).time()
    return any(_within(local, span.strip()) for span in limits.HOURS.split(","))


def _within(local: time, span: str) -> bool:
    begin, end = (int(part[:2]) * 60 + int(part[3:]) for part in span.split("-"))
    now = local.hour * 60 + local.minute
    return begin <= now < end if begin <= end else now >= begin or now < end


def _hour_mistakes(value: Any) -> list[str]:
    if not isinstance(value, str):
        return [f"{value!r} is no text like '22:00-06:00'"]
    return [
        f"{span.strip()!r} is no span like '22:00-06:00'; separate several with commas"
        for span in value.split(",")
        if value and not _SPAN.match(span.strip())
    ]


def _is_zone(value: Any) -> bool:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        return False
    return True
