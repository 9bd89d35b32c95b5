"""The leaves of outbox and stream: partitions by time in a ring, which need no making and are emptied, never dropped.

Note [rings]. A row goes to the leaf of its time: `floor(seconds / width) % leaves`. The ring comes round, so no
partition has to be made ahead: when nobody tends it, leaves grow, and no write ever fails for want of one. A leaf whose
rows may all go is truncated, which costs the same for ten rows and ten million, leaves no dead rows, and locks that
leaf alone: customers write another one. (Dropping or attaching a partition would lock the whole table against them.)
What was there before the ring is a leaf of its own. The leaves of a ring together have no unique constraint; positions
are single because a tick's number is.
"""

from dataclasses import dataclass
from typing import Final

BEFORE: Final = "before"


@dataclass(frozen=True, kw_only=True)
class Ring:
    """A table in leaves, each for `width_seconds` of every lap."""

    table: str
    leaves: int
    width_seconds: int

    @property
    def names(self) -> list[str]:
        """Every leaf, the one of the rows from before the ring first."""
        return [f"{self.table}_{name}" for name in (BEFORE, *range(self.leaves))]

    @property
    def slot(self) -> str:
        """The SQL of the slot that a row written now belongs to."""
        return f"(date_part('epoch', clock_timestamp())::bigint / {self.width_seconds} % {self.leaves})::smallint"

    def current(self, seconds: float) -> str:
        """The leaf that is written at this time."""
        return f"{self.table}_{int(seconds) // self.width_seconds % self.leaves}"

    def suits(self, retention_seconds: float) -> bool:
        """Whether leaves fall empty in time: not before a leaf's own width, nor later than the ring comes round."""
        return self.width_seconds <= retention_seconds <= (self.leaves - 2) * self.width_seconds


OUTBOX: Final = Ring(table="strangle_outbox", leaves=6, width_seconds=600)
STREAM: Final = Ring(table="strangle_stream", leaves=6, width_seconds=2 * 86_400)
RINGS: Final = (OUTBOX, STREAM)
