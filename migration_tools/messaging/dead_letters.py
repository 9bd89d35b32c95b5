"""Events that could not be handled, parked by key so that the rest of the stream goes on; replayed or given up.

Note [who may touch a parked key]. The consumer decides under the lock of its inbox row whether a key is parked, and a
replay or a skip takes the same lock first. So no event of the key arrives while its parked ones are handled: it comes
before, and is parked behind them and handled with them, or after, and finds the key free. Neither is it lost, which
it would be if the replay deleted "what is parked of the key", nor is it left behind with nobody in front of it. The
consumer waits meanwhile, as it does for a chunk.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from django.db import transaction as django_transaction

from migration_tools.errors import StrangleError, TransferError
from migration_tools.kernel import points
from migration_tools.kernel.actors import actor
from migration_tools.kernel.locks import LockClass
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.groups import group_of
from migration_tools.messaging.handling import handle
from migration_tools.stores.postgres import Connection, advisory, django_connection

Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Letter:
    """An event that waits: `attempts` is 0 if an earlier one of its key is to blame; `detail` may hold its data."""

    position: int
    key: Key
    event: Envelope
    reason: str
    detail: str
    attempts: int
    parked_at: str


Note = Callable[[list[Letter]], None]


def key_of(event: Envelope) -> Key:
    """What is parked together."""
    return event.aggregate_type, event.aggregate_id


def parked_keys(conn: Connection, inbox: str) -> set[Key]:
    """The keys of which an event waits."""
    query = "SELECT DISTINCT aggregate_type, aggregate_id FROM strangle_dead_letter WHERE stream = %s"
    return {(row[0], row[1]) for row in conn.execute(query, [inbox])}


def park(conn: Connection, inbox: str, event: Envelope, reason: str, *, detail: str = "", attempts: int = 0) -> None:
    """Put the event aside in the running transaction; once, however often it comes.

    Raises:
        TransferError: an event of another life of the stream, before its owner was restored, is parked at its position.
    """
    done = conn.execute(
        """INSERT INTO strangle_dead_letter
               (stream, position, aggregate_type, aggregate_id, envelope, reason, detail, attempts)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (stream, position) DO NOTHING""",
        [inbox, event.position, *key_of(event), json.dumps(event.to_json()), reason, detail, attempts],
    )
    if not done.rowcount:
        [before] = letters(conn, inbox, position=event.position)
        if before.event.event_id != event.event_id:
            raise TransferError(
                f"another event is parked at position {event.position} of {inbox!r}, from before its owner was "
                f"restored; replay or skip it (strangle_dead_letters list {event.stream}), then the stream goes on"
            )
    points.reached("dead_letters.parked")


def count(conn: Connection, inbox: str) -> int:
    """How many events of an inbox wait."""
    row = conn.execute("SELECT count(*) FROM strangle_dead_letter WHERE stream = %s", [inbox]).fetchone()
    return int(row[0]) if row else 0


def letters(conn: Connection, inbox: str, *, key: Key | None = None, position: int | None = None) -> list[Letter]:
    """What waits, in the stream's order; of one key, or at one position."""
    rows = conn.execute(
        """SELECT position, aggregate_type, aggregate_id, envelope::text, reason, detail, attempts, parked_at::text
           FROM strangle_dead_letter WHERE stream = %(inbox)s
             AND (%(position)s::bigint IS NULL OR position = %(position)s)
             AND (%(type)s::text IS NULL OR (aggregate_type, aggregate_id) = (%(type)s, %(id)s::text))
           ORDER BY position""",
        {"inbox": inbox, "position": position, "type": key[0] if key else None, "id": key[1] if key else None},
    )
    return [
        Letter(
            position=row[0],
            key=(row[1], row[2]),
            event=Envelope.from_json(json.loads(row[3])),
            reason=row[4],
            detail=row[5],
            attempts=row[6],
            parked_at=row[7],
        )
        for row in rows
    ]


def replay(inbox: str, key: Key, *, using: str, reason: str = "", note: Note | None = None) -> list[Letter]:
    """Handle a key's parked events in order and free the key, in one transaction; see [who may touch a parked key].

    `note` is called in that transaction with the events, for a journal.

    Raises:
        HandlerFailed: an event failed again; nothing was changed, all of the key's events stay parked.
    """
    with django_transaction.atomic(using=using, durable=True):
        conn = hold_inbox(inbox, using)
        waiting = letters(conn, inbox, key=key)
        for letter in waiting:
            handle(letter.event, group_of(inbox)[1])
            points.reached("dead_letters.handled")
        _end(conn, inbox, waiting, "replayed", reason, note)
        points.reached("dead_letters.before_commit")
    points.reached("dead_letters.after_commit")
    return waiting


def skip(inbox: str, position: int, *, using: str, reason: str, note: Note | None = None) -> tuple[Letter, int]:
    """Give one parked event up; returns it and how many of its key still wait behind or before it.

    Raises:
        StrangleError: nothing is parked there (any more).
    """
    with django_transaction.atomic(using=using, durable=True):
        conn = hold_inbox(inbox, using)
        found = letters(conn, inbox, position=position)
        if not found:
            raise StrangleError(
                f"no event of {inbox!r} is parked at position {position}; see what is with strangle_dead_letters list"
            )
        _end(conn, inbox, found, "skipped", reason, note)
        left = len(letters(conn, inbox, key=found[0].key))
        points.reached("dead_letters.before_commit")
    points.reached("dead_letters.after_commit")
    return found[0], left


def hold_inbox(inbox: str, using: str) -> Connection:
    """Keep the inbox's consumer out until the running transaction ends, behind copies and hand-overs as it is."""
    conn = django_connection(using)
    advisory.share(conn, LockClass.GATE, group_of(inbox)[0])
    conn.execute("SELECT 1 FROM strangle_inbox WHERE stream = %s FOR UPDATE", [inbox])
    return conn


def _end(conn: Connection, inbox: str, ended: list[Letter], outcome: str, reason: str, note: Note | None) -> None:
    """Take letters out, by their positions, and keep what became of them; in the running transaction."""
    for letter in ended:
        conn.execute("DELETE FROM strangle_dead_letter WHERE stream = %s AND position = %s", [inbox, letter.position])
        conn.execute(
            """INSERT INTO strangle_dead_letter_log (stream, position, event_id, event_type, outcome, actor, reason)
               VALUES (%s, %s, %s, %s, %s, %s, %s)""",
            [inbox, letter.position, str(letter.event.event_id), letter.event.event_type, outcome, actor(), reason],
        )
    if note is not None:
        note(ended)
