"""Reading after writing: a query waits until the read model has what its caller's command did, or says how old it is.

The token is the correlation id that every answer to a command carries already (CausalityMiddleware). A read model keeps
the ids of what it has applied for a while, in the transaction of the effects.
"""

import datetime as dt
import threading
import time
from dataclasses import dataclass

from django.db import connections

from migration_tools.conf import settings
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.groups import inbox_name
from migration_tools.projections.declaration import ReadModel
from migration_tools.stores.postgres import Connection

LOOK_SECONDS = 0.01
# Who waits for a token waits for seconds; older ones are not asked for.
KEPT = "10 minutes"
PRUNE_EVERY = 500


@dataclass(frozen=True, kw_only=True)
class AsOf:
    """How far a read model has applied a stream, and when it last applied anything of it."""

    position: int
    applied_at: dt.datetime | None


def note_token(conn: Connection, group: str, event: Envelope) -> None:
    """Remember that a group has applied something of this correlation, in the running transaction."""
    conn.execute(
        """INSERT INTO strangle_read_token (of_group, correlation_id) VALUES (%s, %s)
           ON CONFLICT (of_group, correlation_id) DO UPDATE SET at = clock_timestamp()""",
        [group, event.correlation_id],
    )
    if event.position % PRUNE_EVERY == 0:
        conn.execute(
            "DELETE FROM strangle_read_token WHERE of_group = %s AND at < clock_timestamp() - %s::interval",
            [group, KEPT],
        )


def has_applied(model: ReadModel, token: str) -> bool:
    """Whether the read model shows what the command with this correlation id did."""
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM strangle_read_token WHERE of_group = %s AND correlation_id = %s)",
            [model.of_group(), token],
        )
        return bool(cursor.fetchone()[0])


def wait_for(model: ReadModel, token: str, seconds: float) -> bool:
    """Wait until the read model shows what the command did; False when it does not within `seconds`.

    Call outside a transaction: inside one of REPEATABLE READ nothing new would ever be seen.
    """
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not has_applied(model, token):
        if time.monotonic() >= deadline:
            return False
        pause.wait(LOOK_SECONDS)
    return True


def as_of(model: ReadModel) -> dict[str, AsOf]:
    """By stream, how far the read model is."""
    names = {inbox_name(stream, model.of_group()): stream for stream in model.streams()}
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute("SELECT stream, position, applied_at FROM strangle_inbox WHERE stream = ANY (%s)", [list(names)])
        found = {names[row[0]]: AsOf(position=row[1], applied_at=row[2]) for row in cursor.fetchall()}
    return {stream: found.get(stream, AsOf(position=0, applied_at=None)) for stream in model.streams()}
