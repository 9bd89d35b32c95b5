"""Remember what was applied: rows, handled events and the position move in one transaction, by compare-and-swap."""

import logging
import math
import threading
import time
from collections.abc import Sequence
from typing import LiteralString, Protocol

from django.db import connections
from django.db import transaction as django_transaction

from migration_tools.conf import settings
from migration_tools.errors import ForeignStream, StreamHole, TransferError
from migration_tools.kernel import points
from migration_tools.kernel.locks import LockClass, lock_keys
from migration_tools.kernel.positions import Admission, admit, advance, fresh
from migration_tools.messaging.batch import Batch, RelationHead, RowRecord
from migration_tools.messaging.dead_letters import Key, key_of, park, parked_keys
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.groups import inbox_name
from migration_tools.messaging.handling import HandlerFailed, handle
from migration_tools.stores.postgres import Connection, describe_failure, django_connection, errors, is_lost, served
from migration_tools.stores.postgres.pipelines import pipelined

log = logging.getLogger(__name__)

LAG_BUCKETS = 80
LAG_SMALLEST_MS = 0.25
FIRST_PAUSE_SECONDS = 0.05

_PLACE: LiteralString = "SELECT position, rows_position, identity, lag_histogram FROM strangle_inbox WHERE stream = %s"
_PLACE_LOCKED: LiteralString = _PLACE + " FOR UPDATE"
# The gate first: its subquery is a condition without a column, which is evaluated before the row is looked for. The
# row's lock then waits for its newest version, however long the gate took.
_PLACE_BEHIND_GATE: LiteralString = _PLACE + " AND (SELECT pg_advisory_xact_lock_shared(%s, %s) IS NOT NULL) FOR UPDATE"


class RowApplier(Protocol):
    """Writes the newest state of each key of a run of row records; call inside a transaction. See transfer.sync."""

    def apply(
        self, conn: Connection, stream: str, relations: dict[int, RelationHead], rows: Sequence[RowRecord]
    ) -> int: ...


def positions(conn: Connection, inbox: str, *, lock: bool = False) -> tuple[int, int]:
    """(position of events, position of rows) of an inbox on this side; zeros before its first batch."""
    return _place(conn, inbox, lock=lock)[:2]


def _place(
    conn: Connection, inbox: str, *, lock: bool = False, gate: tuple[int, int] | None = None
) -> tuple[int, int, str, list[int]]:
    """An inbox's row; with `gate` it is locked, and behind that lock, which is shared until the transaction ends."""
    query = _PLACE_BEHIND_GATE if gate else _PLACE_LOCKED if lock else _PLACE
    params = [inbox, *(gate or ())]
    row = served(conn).execute(query, params).fetchone()
    if row is None:
        conn.execute(
            "INSERT INTO strangle_inbox (stream, position, rows_position, applied_records, lag_histogram)"
            " VALUES (%s, 0, 0, 0, '{}') ON CONFLICT DO NOTHING",
            [inbox],
        )
        row = served(conn).execute(query, params).fetchone()
    assert row is not None  # noqa: S101  (inserted above)
    return int(row[0]), int(row[1]), str(row[2]), list(row[3])


def identity(conn: Connection, inbox: str) -> str:
    """The identity of the stream that an inbox follows; empty before its first batch."""
    row = conn.execute("SELECT identity FROM strangle_inbox WHERE stream = %s", [inbox]).fetchone()
    return str(row[0]) if row else ""


def place(conn: Connection, inbox: str) -> tuple[int, str]:
    """(position of events, mark of the record there) of an inbox on this side."""
    at = positions(conn, inbox)[0]
    row = conn.execute("SELECT mark FROM strangle_inbox WHERE stream = %s AND position = %s", [inbox, at]).fetchone()
    return at, str(row[0]) if row else ""


def move_to(conn: Connection, inbox: str, position: int, *, rows: bool, identity: str) -> None:
    """Set an inbox's position of events, with `rows` that of rows too, and take the stream's identity as given."""
    positions(conn, inbox)
    conn.execute(
        """UPDATE strangle_inbox SET position = %(at)s, mark = '', identity = %(identity)s,
               rows_position = CASE WHEN %(rows)s THEN %(at)s ELSE rows_position END WHERE stream = %(inbox)s""",
        {"at": position, "identity": identity, "rows": rows, "inbox": inbox},
    )


def note_standstill(conn: Connection, inbox: str, reason: str) -> None:
    """Keep why an inbox's consumer cannot go on, or with an empty reason that it can."""
    conn.execute(
        "UPDATE strangle_inbox SET standstill = %(reason)s WHERE stream = %(inbox)s AND standstill <> %(reason)s",
        {"inbox": inbox, "reason": reason[:500]},
    )


def standstill(conn: Connection, inbox: str) -> str:
    """Why an inbox's consumer cannot go on; empty while it can."""
    row = conn.execute("SELECT standstill FROM strangle_inbox WHERE stream = %s", [inbox]).fetchone()
    return str(row[0]) if row else ""


def apply_rows(conn: Connection, batch: Batch, applier: RowApplier) -> None:
    """Apply only the rows of a batch, up to its end; events stay for this side's own consumer.

    Call inside a transaction whose caller holds LockClass.GATE exclusively; for the operator's exact stops at a tick.

    Raises:
        StreamHole: rows between the position and the batch are missing.
        ForeignStream: the batch is another database's.
    """
    _, rows_at, identity, _ = _place(conn, batch.stream, lock=True)
    refuse_foreign(batch, batch.stream, identity)
    admission = admit(rows_at, batch.first, batch.last)
    if admission is Admission.HOLE:
        raise StreamHole(f"stream {batch.stream!r} was applied to {rows_at} but the batch begins after {batch.first}")
    if admission is Admission.SKIP:
        return
    applied = applier.apply(conn, batch.stream, batch.relations, fresh(batch.rows, rows_at))
    conn.execute(
        """UPDATE strangle_inbox SET rows_position = %s, applied_records = applied_records + %s, identity = %s,
                  applied_at = clock_timestamp() WHERE stream = %s""",
        [batch.last, applied, identity or batch.identity, batch.stream],
    )


def pass_over_rows(conn: Connection, inbox: str, upto: int) -> None:
    """Take the rows up to this position for applied, for a caller who brings what they are now by other means.

    Call inside a transaction whose caller holds LockClass.GATE exclusively; events keep their own position.
    """
    positions(conn, inbox, lock=True)
    conn.execute(
        "UPDATE strangle_inbox SET rows_position = greatest(rows_position, %s) WHERE stream = %s", [upto, inbox]
    )


def apply_batch(batch: Batch, applier: RowApplier | None, *, using: str, group: str = "") -> int:
    """Apply a batch on the Django database `using`: rows, then handlers, then the position; all or nothing.

    Opens its own transaction; a batch already applied is skipped, one partly applied is taken from where it is new.
    A batch whose handler fails is tried HANDLER_ATTEMPTS times. Then that event is parked, and later ones of the same
    aggregate are behind it, never the stream. What is the machine's fault (see is_transient) parks nothing. A named
    group has no `applier`: it takes events only.

    Returns:
        The position of events after it.

    Raises:
        StreamHole: records between the position and the batch are missing; read the feed from the position.
        ForeignStream: the batch is another database's; nothing was applied.
    """
    if applier is not None and not batch.events:
        position = _apply_rows_quickly(batch, applier, using)
        if position is not None:
            return position
    attempts = settings().HANDLER_ATTEMPTS
    pause = threading.Event()
    for attempt in range(1, attempts):
        try:
            return _apply(batch, applier, using, group)
        except HandlerFailed as failure:
            if failure.passing and is_lost(failure.error.__cause__ or failure.error):
                raise failure.error from None
            if failure.hopeless:
                break
            pause.wait(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
    try:
        return _apply(batch, applier, using, group, attempts=attempts)
    except HandlerFailed as failure:
        raise failure.error from None


def _apply_rows_quickly(batch: Batch, applier: RowApplier, using: str) -> int | None:
    """Apply a batch without events in three round trips instead of eight; None when a statement fails.

    Where that was, and why, a pipeline does not say exactly: then the batch is applied again, statement by statement.
    Django takes no part in it, so it neither begins nor commits.
    """
    if connections[using].in_atomic_block:
        return None
    try:
        with pipelined(django_connection(using)):
            position = apply_inside(batch, applier, using=using)
            points.reached("inbox.before_commit")
    except (errors.Error, TransferError) as error:
        # A statement's failure may come up at a later one, and be told of that one's table.
        if isinstance(error, TransferError) and not isinstance(error.__cause__, errors.Error):
            raise
        log.debug("a batch of %s is applied step by step: %s", batch.stream, describe_failure(error))
        return None
    points.reached("inbox.after_commit")
    return position


def _apply(batch: Batch, applier: RowApplier | None, using: str, group: str, *, attempts: int = 0) -> int:
    """Apply once; a handler's failure undoes everything, or with `attempts` parks its event after so many."""
    with django_transaction.atomic(using=using, durable=True):
        position = apply_inside(batch, applier, using=using, group=group, attempts=attempts)
        points.reached("inbox.before_commit")
    points.reached("inbox.after_commit")
    return position


def apply_inside(batch: Batch, applier: RowApplier | None, *, using: str, group: str = "", attempts: int = 1) -> int:
    """Do what apply_batch does, once, inside the caller's transaction.

    Raises:
        HandlerFailed: with `attempts` 0, or when what failed is the machine.
    """
    inbox = inbox_name(batch.stream, group)
    conn = django_connection(using)
    at, rows_at, identity, histogram = _place(conn, inbox, gate=lock_keys(LockClass.GATE, batch.stream))
    refuse_foreign(batch, inbox, identity)
    admission = admit(at, batch.first, batch.last)
    if admission is Admission.SKIP:
        return at
    if admission is Admission.HOLE:
        raise StreamHole(f"stream {inbox!r} was applied to {at} but the batch begins after {batch.first}")
    applied = 0
    if applier is not None:
        applied += applier.apply(conn, batch.stream, batch.relations, fresh(batch.rows, rows_at))
        points.reached("inbox.rows_applied")
    events = fresh(batch.events, at)
    if events:
        parked = parked_keys(conn, inbox)
        for event in events:
            applied += 1
            _handle(conn, inbox, event, parked, using=using, group=group, attempts=attempts)
    served(conn).execute(
        """UPDATE strangle_inbox SET position = %s, rows_position = %s, mark = %s,
               applied_records = applied_records + %s, lag_histogram = %s, identity = %s,
               applied_at = clock_timestamp() WHERE stream = %s""",
        [
            *advance(rows_at, batch.last),
            batch.mark,
            applied,
            _observe(histogram, batch),
            identity or batch.identity,
            inbox,
        ],
    )
    return batch.last


def refuse_foreign(batch: Batch, inbox: str, followed: str) -> None:
    """Refuse another database's stream of the same name, at a shared broker or behind a wrong address.

    Raises:
        ForeignStream: the batch's identity is not the one that the inbox follows.
    """
    if followed and batch.identity != followed and batch.last:
        raise ForeignStream(
            f"a batch of {batch.stream!r} from {batch.origin!r} has the identity {batch.identity or 'none'}, but "
            f"{inbox!r} follows {followed}; give each environment a broker or virtual host of its own, and correct "
            "FEEDS. If the owner's database was made anew: verify, then strangle_consume --from-head"
        )


def _handle(
    conn: Connection, inbox: str, event: Envelope, parked: set[Key], *, using: str, group: str, attempts: int
) -> None:
    if key_of(event) in parked:
        park(conn, inbox, event, "an earlier event of the same aggregate is parked")
        return
    if not attempts:
        # When a handler fails the transaction is broken and the whole batch is taken again: savepoints cost time.
        handle(event, group)
        return
    try:
        with django_transaction.atomic(using=using):
            handle(event, group)
    except HandlerFailed as failure:
        if failure.passing:
            raise
        log.error("event %s (%s) is parked: %s", event.event_id, event.event_type, failure, extra={"context": inbox})
        park(conn, inbox, event, failure.reason, detail=failure.detail, attempts=attempts)
        parked.add(key_of(event))


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
