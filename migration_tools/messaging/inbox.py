"""Remember what was applied: rows, handled events and the position move in one transaction, by compare-and-swap."""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import LiteralString, Protocol

from django.db import transaction as django_transaction

from migration_tools.errors import StreamHole
from migration_tools.kernel import points
from migration_tools.kernel.locks import LockClass
from migration_tools.kernel.positions import Admission, admit, advance, fresh
from migration_tools.messaging.batch import Batch, RelationHead, RowRecord
from migration_tools.messaging.context import Causality, caused_by
from migration_tools.messaging.dead_letters import is_parked, park
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import find
from migration_tools.stores.postgres import Connection, advisory, django_connection

log = logging.getLogger(__name__)

LAG_BUCKETS = 80
LAG_SMALLEST_MS = 0.25


_POSITIONS: LiteralString = "SELECT position, rows_position FROM strangle_inbox WHERE stream = %s"
_POSITIONS_LOCKED: LiteralString = "SELECT position, rows_position FROM strangle_inbox WHERE stream = %s FOR UPDATE"


class RowApplier(Protocol):
    """Writes the newest state of each key of a run of row records; call inside a transaction. See transfer.sync."""

    def apply(
        self, conn: Connection, stream: str, relations: dict[int, RelationHead], rows: Sequence[RowRecord]
    ) -> int: ...


def positions(conn: Connection, stream: str, *, lock: bool = False) -> tuple[int, int]:
    """(position of events, position of rows) of a stream on this side; zeros before its first batch."""
    query = _POSITIONS_LOCKED if lock else _POSITIONS
    row = conn.execute(query, [stream]).fetchone()
    if row is None:
        conn.execute(
            "INSERT INTO strangle_inbox (stream, position, rows_position, applied_records, lag_histogram)"
            " VALUES (%s, 0, 0, 0, '{}') ON CONFLICT DO NOTHING",
            [stream],
        )
        row = conn.execute(query, [stream]).fetchone()
    assert row is not None  # noqa: S101  (inserted above)
    return int(row[0]), int(row[1])


def apply_rows(conn: Connection, batch: Batch, applier: RowApplier) -> None:
    """Apply only the rows of a batch, up to its end; events stay for this side's own consumer.

    Call inside a transaction whose caller holds LockClass.GATE exclusively; for the operator's exact stops at a tick.

    Raises:
        StreamHole: rows between the position and the batch are missing.
    """
    _, rows_at = positions(conn, batch.stream, lock=True)
    admission = admit(rows_at, batch.first, batch.last)
    if admission is Admission.HOLE:
        raise StreamHole(f"stream {batch.stream!r} was applied to {rows_at} but the batch begins after {batch.first}")
    if admission is Admission.SKIP:
        return
    applied = applier.apply(conn, batch.stream, batch.relations, fresh(batch.rows, rows_at))
    conn.execute(
        """UPDATE strangle_inbox SET rows_position = %s, applied_records = applied_records + %s,
                  applied_at = clock_timestamp() WHERE stream = %s""",
        [batch.last, applied, batch.stream],
    )


def apply_batch(batch: Batch, applier: RowApplier, *, using: str) -> int:
    """Apply a batch on the Django database `using`: rows, then handlers, then the position; all or nothing.

    Opens its own transaction; a batch already applied is skipped, one partly applied is taken from where it is new.
    A handler that fails parks its event (and later ones of the same aggregate), never the stream.

    Returns:
        The position of events after it.

    Raises:
        StreamHole: records between the position and the batch are missing; read the feed from the position.
    """
    try:
        return _apply(batch, applier, using, careful=False)
    except _HandlerFailed:
        return _apply(batch, applier, using, careful=True)


def _apply(batch: Batch, applier: RowApplier, using: str, *, careful: bool) -> int:
    with django_transaction.atomic(using=using, durable=True):
        conn = django_connection(using)
        advisory.share(conn, LockClass.GATE, batch.stream)
        at, rows_at = positions(conn, batch.stream, lock=True)
        admission = admit(at, batch.first, batch.last)
        if admission is Admission.SKIP:
            return at
        if admission is Admission.HOLE:
            raise StreamHole(f"stream {batch.stream!r} was applied to {at} but the batch begins after {batch.first}")
        applied = applier.apply(conn, batch.stream, batch.relations, fresh(batch.rows, rows_at))
        points.reached("inbox.rows_applied")
        for event in fresh(batch.events, at):
            applied += 1
            _handle(conn, event, using, careful=careful)
        histogram = conn.execute(
            "SELECT lag_histogram FROM strangle_inbox WHERE stream = %s", [batch.stream]
        ).fetchone()
        conn.execute(
            """UPDATE strangle_inbox SET position = %s, rows_position = %s,
                   applied_records = applied_records + %s, lag_histogram = %s, applied_at = clock_timestamp()
               WHERE stream = %s""",
            [
                *advance(rows_at, batch.last),
                applied,
                _observe(histogram[0] if histogram else [], batch),
                batch.stream,
            ],
        )
        points.reached("inbox.before_commit")
    points.reached("inbox.after_commit")
    return batch.last


def _handle(conn: Connection, event: Envelope, using: str, *, careful: bool) -> None:
    if is_parked(conn, event):
        park(conn, event, "an earlier event of the same aggregate is parked")
        return
    chain = Causality(
        correlation_id=event.correlation_id or str(event.event_id),
        causation_id=str(event.event_id),
        metadata=event.metadata,
    )
    try:
        with caused_by(chain):
            if careful:
                with django_transaction.atomic(using=using):
                    _call_handlers(event)
            else:
                _call_handlers(event)
    except Exception as error:
        if not careful:
            # The transaction may be broken: take the whole batch again, each event in a savepoint of its own.
            raise _HandlerFailed from error
        log.exception("event %s (%s) is parked", event.event_id, event.event_type, extra={"context": event.stream})
        park(conn, event, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


def _call_handlers(event: Envelope) -> None:
    for handler in find(event):
        handler.function(replace(event, payload=dict(event.payload)))


class _HandlerFailed(Exception):
    """A handler raised in the quick pass."""


def _observe(histogram: list[int], batch: Batch) -> list[int]:
    """Count the batch's records under the time since its oldest fact; buckets grow by a quarter of a power of two."""
    counts = list(histogram) or [0] * LAG_BUCKETS
    oldest = batch.oldest()
    if oldest is not None:
        milliseconds = max((time.time() - oldest) * 1000, LAG_SMALLEST_MS)
        place = min(int(4 * math.log2(milliseconds / LAG_SMALLEST_MS)), LAG_BUCKETS - 1)
        counts[place] += len(batch.rows) + len(batch.events)
    return counts


def lag_percentile(histogram: Sequence[int], share: float) -> float | None:
    """Upper bound in milliseconds of the bucket that holds the `share` quantile; None without observations."""
    total = sum(histogram)
    if not total:
        return None
    seen = 0
    for place, count in enumerate(histogram):
        seen += count
        if seen >= share * total:
            return LAG_SMALLEST_MS * 2 ** ((place + 1) / 4)
    return LAG_SMALLEST_MS * 2 ** (len(histogram) / 4)
