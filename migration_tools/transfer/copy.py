"""Backfill: copy a relation in key ranges, each at an exact tick, beside live writes; resumable after kill -9.

A chunk makes its key range equal to the sender's rows as of the tick at which the receiver stands: copied straight in
where the range is empty, merged where it is not. So it does not matter what events had put there, or whether the chunk
was done before. The checkpoint commits in the same transaction as the rows.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from migration_tools.capture.projector import InstalledRelation, read_relations
from migration_tools.conf import settings
from migration_tools.errors import StaleCheckpoint, TargetNotEmpty
from migration_tools.kernel import points
from migration_tools.stores.postgres import Connection, sql, transaction
from migration_tools.stores.postgres.catalog import read_table
from migration_tools.stores.postgres.copying import pipe
from migration_tools.transfer.merge import merge_chunk
from migration_tools.transfer.ranges import KeyRange, next_bound, source_condition, target_condition
from migration_tools.transfer.stops import Ends, stopped_at_tick

FIRST_ROWS = 5_000
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
    ends: Ends, relation: InstalledRelation, declaration: str, *, pause: Callable[[], None] = lambda: None
) -> "CopyRun":
    """Prepare the copy of one relation; iterate the result to do it, one chunk an item."""
    return CopyRun(ends, relation, declaration, pause)


class CopyRun:
    """Iterates over chunks; `pause()` is asked before each one and may wait (throttle) or raise (interrupt)."""

    def __init__(self, ends: Ends, relation: InstalledRelation, declaration: str, pause: Callable[[], None]):
        self.ends = ends
        self.relation = relation
        self.declaration = declaration
        self.pause = pause
        self._rows = FIRST_ROWS
        shape = read_table(ends.receiver, relation.target_table)
        assert shape is not None  # noqa: S101  (compiled against it)
        self._shape = shape
        self._types = [shape.columns[name].type for name in relation.columns]
        self._key_types = tuple(shape.columns[name].base for name in relation.key_columns)

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
        with stopped_at_tick(self.ends):
            begun = time.monotonic()
            upto = next_bound(self.ends.reader, self.relation, at.upto, self._rows)
            keys = KeyRange(after=at.upto, upto=upto)
            with transaction(self.ends.receiver):
                rows = self._replace(keys)
                points.reached("copy.rows_written")
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
                        at.rows + rows,
                        upto is None,
                    ],
                )
                points.reached("copy.before_commit")
            points.reached("copy.after_commit")
            self._tune(time.monotonic() - begun)
        return Copied(
            projection=self.relation.projection,
            rows=rows,
            total_rows=at.rows + rows,
            seconds=time.monotonic() - started,
            done=upto is None,
        )

    def _replace(self, keys: KeyRange) -> int:
        receiver, relation = self.ends.receiver, self.relation
        receiver.execute("SELECT set_config('strangle.applying', 'row', true)")
        within = target_condition(relation, self._key_types, keys)
        return merge_chunk(
            receiver, self.ends.stream, relation, self._shape, within, lambda table: self._pipe(keys, table)
        )

    def _pipe(self, keys: KeyRange, table: str) -> int:
        relation = self.relation
        names = sql.SQL(", ").join(sql.SQL("r.{}").format(sql.Identifier(name)) for name in relation.columns)
        query = sql.SQL("SELECT {} FROM ({}) r WHERE {}").format(
            names, sql.SQL(relation.query), source_condition(relation, keys)
        )
        return pipe(self.ends.reader, query, self.ends.receiver, table, relation.columns, self._types)

    def _tune(self, seconds: float) -> None:
        """Size the next chunk so that the stop lasts about CHUNK_SECONDS."""
        factor = min(max(settings().CHUNK_SECONDS / max(seconds, 0.001), 0.25), 2.0)
        self._rows = int(min(max(self._rows * factor, 500), settings().CHUNK_ROWS_MAXIMUM))


def whole_relations(conn: Connection, stream: str) -> list[InstalledRelation]:
    """The relations that carry whole rows, parents before children."""
    return [relation for relation in read_relations(conn, stream) if relation.kind == "r"]
