"""Which transactions a PostgreSQL snapshot sees, and which of them belong to a tick: the rule behind messaging.ticks.

The engine says it in SQL (ticks.TAKEN_SINCE); this is the same rule as a function, for the model check. A test holds
the two together on random snapshots.
"""

from typing import NamedTuple, Self


class Snapshot(NamedTuple):
    """A pg_snapshot: below `xmin` all have ended, from `xmax` on none has been seen, `xip` ran when it was taken."""

    xmin: int
    xmax: int
    xip: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read PostgreSQL's text form, `xmin:xmax:xip,xip`."""
        xmin, xmax, xip = text.split(":")
        return cls(int(xmin), int(xmax), tuple(int(each) for each in xip.split(",") if each))

    def sees(self, xid: int) -> bool:
        """Whether the transaction had ended: pg_visible_in_snapshot."""
        return xid < self.xmin or (xid < self.xmax and xid not in self.xip)


def news_since(xid: int, previous: Snapshot | None) -> bool:
    """Whether a transaction had not ended at the tick before; see Note [commit order of outbox rows]."""
    return previous is None or xid >= previous.xmax or xid in previous.xip


def forgettable(xid: int, last: Snapshot) -> bool:
    """Whether retention may drop an outbox row: the last tick took it, or an earlier one did."""
    return last.sees(xid)


def covers(later: Snapshot, earlier: Snapshot) -> bool:
    """Whether `later` sees every transaction that `earlier` sees; False may also be said of two that are alike."""
    return later.xmax >= earlier.xmax and set(earlier.xip).issuperset(x for x in later.xip if x < earlier.xmax)
