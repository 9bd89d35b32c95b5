"""Who owns a context, read and handed over in the databases themselves."""

from dataclasses import dataclass

from django.apps import apps
from django.db import connections

from migration_tools.capture.models import Side
from migration_tools.conf import settings
from migration_tools.stores.postgres import Connection

# The state of every move is in the monolith's database, and in no other.
_MONOLITHS = "migration_tools.state"


@dataclass(frozen=True, kw_only=True)
class Owner:
    """What one database's fence believes."""

    side: Side
    owner: Side
    epoch: int

    @property
    def may_write(self) -> bool:
        """Whether applications may write the context here."""
        return self.side is self.owner


def read_owner(conn: Connection, context: str) -> Owner | None:
    """The fence's belief in this database; None when no capture is installed."""
    row = conn.execute("SELECT side, owner, epoch FROM strangle_ownership WHERE context = %s", [context]).fetchone()
    return Owner(side=Side(row[0]), owner=Side(row[1]), epoch=int(row[2])) if row else None


def set_owner(conn: Connection, context: str, owner: Side, epoch: int) -> None:
    """Write the fence's belief; on the closing side call with LockClass.FENCE held exclusively.

    An epoch never goes back, so a late step of an older hand-over changes nothing.
    """
    conn.execute(
        "UPDATE strangle_ownership SET owner = %s, epoch = %s, changed_at = clock_timestamp() WHERE context = %s AND "
        "epoch < %s",
        [owner.value, epoch, context, epoch],
    )


def owned_here(context: str, *, using: str | None = None) -> bool:
    """Whether this side may write a context now. Where nothing is captured the monolith may, and no service.

    A service's database knows of no owner before `strangle_dual_write`, and again after the way back to monolith_only:
    its handlers may run all the while, and do nothing by themselves. Once it is the owner for good the row stays.

    For handlers and seams that act on their own rows or hand the work to the other side. Call inside `atomic()`, and do
    not remember the answer: a hand-over between this and the write is refused by the fence with SQLSTATE 40S01, which
    undoes the transaction, and asked again the answer is the new one.
    """
    with connections[using or settings().DATABASE].cursor() as cursor:
        cursor.execute("SELECT side = owner FROM strangle_ownership WHERE context = %s", [context])
        row = cursor.fetchone()
    return apps.is_installed(_MONOLITHS) if row is None else bool(row[0])
