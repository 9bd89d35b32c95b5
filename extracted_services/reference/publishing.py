"""Publish a version: checked whole, numbered behind a lock, and told to whoever listens."""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from django.db import connection, transaction

from migration_tools.messaging import outbox

from .models import Kind, Snapshot


class NotPublished(Exception):
    """The rows cannot be published; with all their mistakes."""


def publish(kind: Kind, rows: Iterable[Mapping[str, Any]]) -> Snapshot | None:
    """Publish all rows of a kind as its next version; None if they are what the last version says.

    Raises:
        NotPublished: a row has no key or no day, or two hold from the same day.
    """
    made = [{"id": f"{row.get('key')}/{row.get('valid_from')}", **row} for row in rows]
    mistakes = list(_mistakes(made))
    if mistakes:
        raise NotPublished("; ".join(mistakes))
    made.sort(key=lambda row: str(row["id"]))
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"publish {kind}"])
        last = Snapshot.objects.filter(kind=kind).order_by("-version").first()
        if last is not None and last.rows == made:
            return None
        snapshot = Snapshot.objects.create(kind=kind, version=(last.version if last else 0) + 1, rows=made)
        outbox.publish(
            "reference.published",
            aggregate_type="reference",
            aggregate_id=kind,
            payload={"kind": str(kind), "version": snapshot.version},
            stream="reference",
        )
    return snapshot


def _mistakes(rows: list[dict[str, Any]]) -> Iterable[str]:
    if not rows:
        yield "there are no rows"
    for row in rows:
        try:
            dt.date.fromisoformat(str(row["valid_from"]))
            if not str(row["key"]):
                yield f"row {row['id']!r} has an empty key"
        except (KeyError, ValueError):
            yield f"row {row['id']!r} needs 'key' and 'valid_from' (a day, as 2025-01-31)"
    ids = [row["id"] for row in rows]
    yield from (f"{each!r} is there twice" for each in sorted({each for each in ids if ids.count(each) > 1}))
