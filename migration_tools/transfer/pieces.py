"""One key range, made equal to the sender's rows as of an exact stop, by whoever is told to: this process or another.

Note [who may write in a stop]. A stop stands on the GATE of one connection. A piece that is copied on another one must
not outlive it: were the stop's holder killed, the consumer would go on, and a late commit of the piece would put old
rows over new ones. So the piece's transaction first locks the receiver's inbox row FOR SHARE and sees that it is still
at the stop's position. Every apply locks that row FOR UPDATE before it writes: until the piece has ended nothing is
applied, and a piece that comes after an apply finds another position and ends. At the same position the mapped source
is the same, so a piece that is done twice, or late, writes what is there.

Note [chunks are durable with the last one]. A chunk's commit does not wait for the disk, nor for a synchronous standby:
the next stop need not wait for either. A server that crashes loses transactions from the end of its log on, never one
in the middle. So rows are lost only with the checkpoint that counts them, and are copied again; what the sync applied
after them is lost with them or not at all, and it commits durably, as the last checkpoint of a projection does.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from migration_tools.capture.applying import mark_applying
from migration_tools.capture.relations import InstalledRelation
from migration_tools.errors import PositionMoved
from migration_tools.kernel import points
from migration_tools.stores.postgres import Connection, commit_soon, errors, sql, transaction
from migration_tools.stores.postgres.catalog import Table, read_table
from migration_tools.stores.postgres.copying import Piped
from migration_tools.stores.postgres.digests import rows_by_key
from migration_tools.transfer.mapped import copy_rows, rows_within
from migration_tools.transfer.merge import merge_chunk
from migration_tools.transfer.ranges import Bound, KeyRange, among, source_condition, target_condition

FENCE_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A key range of a relation, at a stop: `snapshot` is the sender's, exported; `position` is where both stand."""

    stream: str
    relation: InstalledRelation
    keys: KeyRange
    position: int
    snapshot: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a piece: what was moved, or None when it met rows of another piece and must be done again."""

    keys: KeyRange
    piped: Piped | None


class Work(Protocol):
    """Pieces under way."""

    def wait(self) -> list[Outcome]:
        """Return when every piece has ended; raise the first failure, if any, only then."""


class Crew(Protocol):
    """Others who copy pieces beside the caller; `size` is how many at once."""

    @property
    def size(self) -> int: ...

    def begin(self, pieces: Sequence[Piece]) -> Work:
        """Let the pieces be copied; the stop must last until `wait` has returned."""


def copy_piece(reader: Connection, receiver: Connection, piece: Piece) -> Outcome:
    """Copy the piece: in a transaction of its own of the receiver, or as a part of the running one.

    Raises:
        PositionMoved: the piece's stop is over.
    """
    try:
        with transaction(receiver, lock_timeout_seconds=FENCE_SECONDS):
            commit_soon(receiver)
            at = receiver.execute(
                "SELECT rows_position FROM strangle_inbox WHERE stream = %s FOR SHARE", [piece.stream]
            ).fetchone()
            if at is None or at[0] != piece.position:
                raise PositionMoved(f"the stop of {piece.stream!r} at {piece.position} is over; its piece is dropped")
            with _on_snapshot(reader, piece):
                points.reached("piece.begun")
                shape = read_target(receiver, piece.relation)
                piped = replace_range(reader, receiver, piece.stream, piece.relation, shape, piece.keys)
            points.reached("piece.rows_written")
    except (errors.UniqueViolation, errors.DeadlockDetected):
        # Rows that were wrong hold a unique value which belongs to another piece's range: one after the other, then.
        return Outcome(keys=piece.keys, piped=None)
    points.reached("piece.committed")
    return Outcome(keys=piece.keys, piped=piped)


def replace_range(
    reader: Connection,
    receiver: Connection,
    stream: str,
    relation: InstalledRelation,
    shape: Table,
    keys: KeyRange,
) -> Piped:
    """Make the receiver's key range equal to the rows that `reader` sees; call inside the receiver's transaction."""
    mark_applying(receiver, "row")
    within = target_condition(relation, tuple(shape.columns[name].base for name in relation.key_columns), keys)
    within_source = source_condition(relation, keys)
    types = [shape.columns[name].type for name in relation.columns]

    def fill(table: str, choice: sql.Composable) -> Piped:
        chosen = sql.SQL("{} AND {}").format(within_source, choice)
        with reader.transaction():  # whose snapshot must outlive a COPY that the receiver breaks off
            return copy_rows(reader, relation, chosen, receiver, table, types)

    def look(known: Sequence[Bound]) -> dict[Bound, tuple[str | None, ...]]:
        rows = rows_within(reader, relation, among(relation, known))
        return rows_by_key(reader, rows, relation.key_columns, relation.columns, types, known)

    return merge_chunk(receiver, stream, relation, shape, within, fill, look)


@contextmanager
def _on_snapshot(reader: Connection, piece: Piece) -> Iterator[None]:
    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        try:
            reader.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(piece.snapshot)))
        except (errors.InvalidParameterValue, errors.UndefinedObject, errors.ObjectNotInPrerequisiteState) as error:
            raise PositionMoved(f"the stop of {piece.stream!r} is over: its snapshot is gone") from error
        yield
    finally:
        if not reader.closed:
            reader.execute("ROLLBACK")


def read_target(receiver: Connection, relation: InstalledRelation) -> Table:
    """The shape of the table that the relation goes into."""
    shape = read_table(receiver, relation.target_table)
    assert shape is not None  # noqa: S101  (compiled against it)
    return shape
