"""Backfill: copy a relation in key ranges, each at an exact tick, beside live writes; resumable after kill -9.

A chunk makes its key range equal to the sender's rows as of the tick at which the receiver stands: copied straight in
where the range is empty, merged where it is not. So it does not matter what events had put there, or whether the chunk
was done before. The checkpoint commits in the same transaction as the rows.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from migration_tools.capture.relations import InstalledRelation, read_relations
from migration_tools.conf import settings
from migration_tools.errors import StaleCheckpoint, TargetNotEmpty
from migration_tools.kernel import points
from migration_tools.stores.postgres import Connection, commit_soon, sql, transaction
from migration_tools.stores.postgres.catalog import average_row_bytes
from migration_tools.stores.postgres.copying import Piped
from migration_tools.transfer.pieces import Crew, Piece, read_target, replace_range
from migration_tools.transfer.ranges import Bound, KeyRange, cut
from migration_tools.transfer.stops import Ends, Stop, stopped_at_tick

FIRST_ROWS = 10_000
UNKNOWN_ROW_BYTES = 200.0
QUIET_FACTOR = 4.0
SAMPLE = 5


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """How far a projection is copied."""

    upto: tuple[str, ...] | None
    rows: int
    done: bool


@dataclass(frozen=True, kw_only=True)
class Copied:
    """One chunk's result, for progress."""

    projection: str
    rows: int
    total_rows: int
    seconds: float
    done: bool


def read_checkpoint(conn: Connection, stream: str, relation: InstalledRelation, declaration: str) -> Checkpoint | None:
    """Where the copy of a projection stands; None before its first chunk.

    Raises:
        StaleCheckpoint: it was begun under another declaration of the playbook.
    """
    row = conn.execute(
        "SELECT declaration, upto, rows, done FROM strangle_copied_range WHERE stream = %s AND projection = %s",
        [stream, relation.projection],
    ).fetchone()
    if row is None:
        return None
    if row[0] != declaration:
        raise StaleCheckpoint(
            f"the copy of {relation.projection!r} was begun with an older playbook and its rows may be mapped the "
            f"old way; "
            f"run strangle_backfill {stream} --restart to copy it anew (rows are replaced in place, nothing is lost)"
        )
    return Checkpoint(upto=tuple(row[1]) if row[1] is not None else None, rows=int(row[2]), done=row[3])


def forget_checkpoints(conn: Connection, stream: str) -> None:
    """Let the next copy begin anew."""
    conn.execute("DELETE FROM strangle_copied_range WHERE stream = %s", [stream])


def refuse_strangers(ends: Ends, relation: InstalledRelation) -> None:
    """Refuse to begin when the target holds keys that the source does not have at this very instant.

    Raises:
        TargetNotEmpty: with how many and a few of them.
    """
    with stopped_at_tick(ends):
        key = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in relation.key_columns)
        held = {
            tuple(row)
            for row in ends.receiver.execute(
                sql.SQL("SELECT {} FROM {} WHERE {}").format(
                    key, sql.Identifier(relation.target_table), sql.SQL(relation.share or "true")
                )
            )
        }
        if not held:
            return
        names = sql.SQL(", ").join(sql.SQL(f"r.k{i}::text") for i in range(len(relation.key_types)))
        query = sql.SQL("SELECT {} FROM ({}) r").format(names, sql.SQL(relation.query))
        for row in ends.reader.cursor().stream(query):
            held.discard(tuple(row))
            if not held:
                return
    sample = ", ".join("/".join(key) for key in sorted(held)[:SAMPLE])
    raise TargetNotEmpty(
        f"target table {relation.target_table!r} holds {len(held)} rows that the source does not have (keys "
        f"{sample}…); "
        f"empty it, or run strangle_backfill {ends.stream} --replace to delete them"
    )


def copy_relation(
    ends: Ends,
    relation: InstalledRelation,
    declaration: str,
    *,
    pause: Callable[[], None] = lambda: None,
    crew: Crew | None = None,
) -> "CopyRun":
    """Prepare the copy of one relation; iterate the result to do it, one chunk an item."""
    return CopyRun(ends, relation, declaration, pause, crew)


class CopyRun:
    """Iterates over chunks; `pause()` is asked before each one and may wait (throttle) or raise (interrupt).

    With a `crew` a chunk is several key ranges, copied beside each other in one stop. The checkpoint is written when
    all of them are committed: a kill before that lets the same ranges be copied again, which changes nothing. A table
    that refers to itself is copied by one, since a row's parent may be in another range.
    """

    def __init__(
        self,
        ends: Ends,
        relation: InstalledRelation,
        declaration: str,
        pause: Callable[[], None],
        crew: Crew | None = None,
    ):
        self.ends = ends
        self.relation = relation
        self.declaration = declaration
        self.pause = pause
        self._shape = read_target(ends.receiver, relation)
        selfish = any(reference.target == relation.target_table for reference in self._shape.references)
        self._crew = None if selfish else crew
        self._row_bytes = average_row_bytes(ends.sender, relation.source_table) or UNKNOWN_ROW_BYTES
        self._rows = min(FIRST_ROWS, self._rows_of_budget())
        self._position: int | None = None

    def is_new(self) -> bool:
        """Whether no chunk of this copy was done yet."""
        return read_checkpoint(self.ends.receiver, self.ends.stream, self.relation, self.declaration) is None

    def rows_done(self) -> int:
        """Rows copied so far, by this run and earlier ones."""
        at = read_checkpoint(self.ends.receiver, self.ends.stream, self.relation, self.declaration)
        return at.rows if at is not None else 0

    def __iter__(self) -> "CopyRun":
        return self

    def __next__(self) -> Copied:
        at = read_checkpoint(self.ends.receiver, self.ends.stream, self.relation, self.declaration)
        if at is not None and at.done:
            raise StopIteration
        self.pause()
        return self._chunk(at or Checkpoint(upto=None, rows=0, done=False))

    def _chunk(self, at: Checkpoint) -> Copied:
        started = time.monotonic()
        with stopped_at_tick(self.ends) as stop:
            begun = time.monotonic()
            pieces = 1 + (self._crew.size if self._crew is not None else 0)
            ranges = cut(self.ends.reader, self.relation, at.upto, self._rows, pieces)
            upto = ranges[-1].upto
            moved = self._beside_the_crew(stop, ranges) if len(ranges) > 1 else []
            with transaction(self.ends.receiver):
                if upto is not None:
                    commit_soon(self.ends.receiver)
                if not moved:
                    moved = [self._replace(ranges[0])]
                rows = sum(each.rows for each in moved)
                points.reached("copy.rows_written")
                self._checkpoint(upto, at.rows + rows)
                points.reached("copy.before_commit")
            points.reached("copy.after_commit")
            self._tune(time.monotonic() - begun, moved, quiet=stop.position == self._position)
            self._position = stop.position
        return Copied(
            projection=self.relation.projection,
            rows=rows,
            total_rows=at.rows + rows,
            seconds=time.monotonic() - started,
            done=upto is None,
        )

    def _beside_the_crew(self, stop: Stop, ranges: Sequence[KeyRange]) -> list[Piped]:
        """Copy the first range here and the others by the crew, each committed by itself.

        Ours is committed before the others are waited for: one of them may wait for a row of ours.
        """
        assert self._crew is not None  # noqa: S101  (more than one range)
        snapshot = self.ends.reader.execute("SELECT pg_export_snapshot()").fetchone()
        work = self._crew.begin(
            [
                Piece(
                    stream=self.ends.stream,
                    relation=self.relation,
                    keys=keys,
                    position=stop.position,
                    snapshot=snapshot[0] if snapshot else "",
                )
                for keys in ranges[1:]
            ]
        )
        try:
            moved = [self._replace_alone(ranges[0])]
        finally:
            outcomes = work.wait()
        for outcome in outcomes:
            moved.append(outcome.piped if outcome.piped is not None else self._replace_alone(outcome.keys))
        return moved

    def _replace_alone(self, keys: KeyRange) -> Piped:
        with transaction(self.ends.receiver):
            commit_soon(self.ends.receiver)
            return self._replace(keys)

    def _replace(self, keys: KeyRange) -> Piped:
        return replace_range(self.ends.reader, self.ends.receiver, self.ends.stream, self.relation, self._shape, keys)

    def _checkpoint(self, upto: Bound | None, rows: int) -> None:
        self.ends.receiver.execute(
            """INSERT INTO strangle_copied_range (stream, projection, declaration, upto, rows, done)
               VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (stream, projection) DO UPDATE SET
                   declaration = EXCLUDED.declaration, upto = EXCLUDED.upto, rows = EXCLUDED.rows,
                   done = EXCLUDED.done, updated_at = clock_timestamp()""",
            [
                self.ends.stream,
                self.relation.projection,
                self.declaration,
                list(upto) if upto else None,
                rows,
                upto is None,
            ],
        )

    def _tune(self, seconds: float, moved: Sequence[Piped], *, quiet: bool) -> None:
        """Size the next chunk so that the stop lasts about CHUNK_SECONDS, and no piece is larger than CHUNK_BYTES.

        While nobody writes what the stream carries, a stop holds nothing up and may last QUIET_FACTOR times as long.
        """
        rows, size = sum(each.rows for each in moved), sum(each.bytes for each in moved)
        if rows:
            self._row_bytes = size / rows
        goal = settings().CHUNK_SECONDS * (QUIET_FACTOR if quiet else 1.0)
        factor = min(max(goal / max(seconds, 0.001), 0.25), 4.0)
        wanted = min(max(self._rows * factor, 500), settings().CHUNK_ROWS_MAXIMUM)
        self._rows = int(min(wanted, self._rows_of_budget()))

    def _rows_of_budget(self) -> int:
        return max(int(settings().CHUNK_BYTES / max(self._row_bytes, 1.0)), 1)


def whole_relations(conn: Connection, stream: str) -> list[InstalledRelation]:
    """The relations that carry whole rows, parents before children."""
    return [relation for relation in read_relations(conn, stream) if relation.kind == "r"]
