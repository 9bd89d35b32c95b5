"""What an apply has to know of its own side before it writes, asked once a batch."""

from dataclasses import dataclass
from typing import Final

from migration_tools.capture.models import Side
from migration_tools.capture.ownership import Owner
from migration_tools.stores.postgres import Connection, served, sql
from migration_tools.transfer.uncopied import UNCOPIED

_STANDING: Final[bytes] = (
    sql.SQL(
        """SELECT ARRAY(SELECT table_name FROM strangle_captured_table WHERE stream = %(stream)s AND fenced),
               ARRAY({uncopied}),
               ARRAY(SELECT DISTINCT table_name FROM strangle_waiting_reference WHERE stream = %(stream)s),
               (SELECT ARRAY[side, owner, epoch::text] FROM strangle_ownership WHERE context = %(stream)s)"""
    )
    .format(uncopied=sql.SQL(UNCOPIED))
    .as_bytes()
)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Fenced tables, those not copied whole, those of which references wait, and whom the fence believes.

    Rows come to fenced tables alone: what is captured here for the other side and is no part of the context, such as
    the monolith's users, is never written by a batch, whatever that says.
    """

    fenced: frozenset[str]
    uncopied: set[str]
    waiting: set[str]
    owner: Owner | None


def read_standing(conn: Connection, stream: str) -> Standing:
    """Read it in one snapshot; call behind LockClass.GATE and the inbox row's lock, which hold all of it still."""
    row = served(conn).execute(_STANDING, {"stream": stream}).fetchone()
    fenced, uncopied, waiting, owner = row if row else ([], [], [], None)
    return Standing(
        fenced=frozenset(fenced),
        uncopied=set(uncopied),
        waiting=set(waiting),
        owner=None if owner is None else Owner(side=Side(owner[0]), owner=Side(owner[1]), epoch=int(owner[2])),
    )
