"""The road of one shape: installed, written, copied, compared, handed over, written on the other side, and back."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from migration_tools.capture.models import Side
from migration_tools.capture.ownership import set_owner
from migration_tools.playbook import Playbook, Projection
from migration_tools.stores.postgres import connect
from migration_tools.transfer.completion import complete_references
from migration_tools.transfer.copy import copy_relation, whole_relations
from migration_tools.verification.verify import Sides, verify
from tests.conftest import Pair
from tests.stage import Stage

Statements = Sequence[str]


class Shape(Stage):
    """A stage over a playbook of its own; `views` are what both sides must show alike, by hand: source SQL, target SQL.

    The comparison must not trust the code it checks.
    """

    stream = "shapes"

    def __init__(
        self,
        pair: Pair,
        projections: Sequence[Projection],
        views: Mapping[str, tuple[str, str]],
        references: Sequence[Projection] = (),
    ):
        attributes = {"context": self.stream, "source": "default", "target": "orders"}
        self._playbook = type(
            "Shapes", (Playbook,), {**attributes, "projections": list(projections), "references": list(references)}
        )
        self.views = dict(views)
        self.epoch = 1
        try:
            super().__init__(pair)
        except BaseException:
            self.close()
            raise

    def playbook(self) -> type[Playbook]:
        """The one it was made with."""
        return self._playbook

    def differences(self) -> list[tuple[str, Any, Any]]:
        """Views that are not the same on both sides: what only the source shows, what only the target."""
        found = []
        for name, (ours, theirs) in self.views.items():
            left, right = _texts(self.shop, ours), _texts(self.orders, theirs)
            if left != right:
                extra = [row for row in left if row not in right], [row for row in right if row not in left]
                found.append((name, *extra))
        return found

    def copy_between(self, writes: Statements = ()) -> None:
        """Copy everything by the rows-a-chunk in force; after each chunk one of the writes, every second one applied
        at once."""
        waiting = list(writes)
        with self.ends() as ends:
            for relation in whole_relations(ends.sender, self.stream):
                for _ in copy_relation(ends, relation, "test"):
                    if waiting:
                        self.shop.execute(waiting.pop(0))
                        if len(waiting) % 2:
                            self.settle()
            complete_references(ends)
        self.write(waiting)

    def write(self, writes: Statements, *, reverse: bool = False) -> None:
        """Each statement by itself on the owner's side, each carried over."""
        for statement in writes:
            (self.orders if reverse else self.shop).execute(statement)
            self.tick(reverse=reverse)
            self.consume(reverse=reverse)

    def together(self, writes: Statements, *, reverse: bool = False) -> None:
        """All statements in one transaction, so in one tick."""
        conn = self.orders if reverse else self.shop
        with conn.transaction():
            for statement in writes:
                conn.execute(statement)
        self.tick(reverse=reverse)
        self.consume(reverse=reverse)

    def verified(self, *, reverse: bool = False) -> list[Any]:
        """What the product's own verification says, both ways while the source owns."""
        with self.ends(reverse=reverse) as ends, connect("default" if reverse else "orders", "test reader") as reader:
            direction = "backward" if reverse else "forward"
            report = verify(Sides(ends=ends, receiver_reader=reader, direction=direction))
        return [(t.source_table, t.target_table, d.key, d.kind, d.fields) for t in report.tables for d in t.differences]

    def hand_over(self, to: Side) -> None:
        """Let the other side own the context; what a cutover does to the fences, without its waiting."""
        self.epoch += 1
        for alias in ("default", "orders"):
            with connect(alias, "test") as conn:
                set_owner(conn, self.stream, to, self.epoch)

    def carry(self, *, live: Statements, back: Statements, again: Statements = ()) -> None:
        """The whole road: live writes between chunks and after them, hand-over, writes over there, and back again."""
        self.copy_between(live)
        self.settle()
        assert self.differences() == [], self.differences()
        assert self.verified() == [], self.verified()
        self.hand_over(Side.TARGET)
        self.write(back, reverse=True)
        assert self.differences() == [], self.differences()
        assert self.verified(reverse=True) == [], self.verified(reverse=True)
        self.hand_over(Side.SOURCE)
        self.write(again)
        assert self.differences() == [], self.differences()
        assert self.verified() == [], self.verified()


def _texts(conn: Any, query: str) -> list[str]:
    return sorted(str(row[0]) for row in conn.execute(f"SELECT v::text FROM ({query}) v"))


def run_all(conn: Any, statements: Iterable[str]) -> None:
    """Execute each."""
    for statement in statements:
        conn.execute(statement)
