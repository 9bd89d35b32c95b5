"""Rows that hold from a day on, kept of a service by polling, with a bundled copy for before the first answer."""

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migration_tools.replication.polling import Poll, read


def effective(rows: Iterable[Mapping[str, Any]], key: str, day: dt.date) -> Mapping[str, Any] | None:
    """The row of a key that holds on a day: of those that began until then, the last; None before the first."""
    begun = [row for row in rows if row["key"] == key and dt.date.fromisoformat(str(row["valid_from"])) <= day]
    return max(begun, key=lambda row: dt.date.fromisoformat(str(row["valid_from"])), default=None)


@dataclass(frozen=True, kw_only=True)
class Looked:
    """A row, and how old the knowledge is: None, if it is the bundled one."""

    row: Mapping[str, Any] | None
    age_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class EffectiveTable:
    """Reference data in a service that needs it: asks nobody when it is read, so it is there whoever is away.

    `bundled` is a JSON file of rows that ships with the service; it is read while the poll never had an answer.
    """

    poll: Poll
    bundled: Path

    def on(self, key: str, day: dt.date) -> Looked:
        """The row of a key that holds on a day."""
        reading = read(self.poll)
        if reading.age_seconds is None:
            return Looked(row=effective(json.loads(self.bundled.read_text()), key, day), age_seconds=None)
        return Looked(row=effective(reading.documents.values(), key, day), age_seconds=reading.age_seconds)
