"""Turn the touches of a tick into row records: read each touched key through its relation, in the tick's snapshot."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from migration_tools.capture.layouts import TouchReader
from migration_tools.capture.log_reader import LogReader
from migration_tools.capture.mapped_rows import written_out
from migration_tools.capture.relations import InstalledRelation, read_relations
from migration_tools.errors import CaptureDrift, TransformFailed
from migration_tools.kernel import points
from migration_tools.kernel.records import endings
from migration_tools.messaging.ticks import Touch
from migration_tools.stores.postgres import Connection, describe_failure, errors, sql

Key = tuple[str, ...]

ROWS_IN_PYTHON = 5_000


def keyed_query(relation: InstalledRelation, *, limit_to_keys: bool = True) -> sql.Composed:
    """SELECT * over the relation as `r`; with `limit_to_keys` only for keys given as one array per key column.

    One key column uses = ANY, which PostgreSQL pushes into the relation as an index condition.
    """
    query = sql.SQL("SELECT * FROM ({}) r").format(sql.SQL(relation.query.replace("%", "%%")))
    if not limit_to_keys:
        return query
    types = [sql.SQL(name) for name in relation.key_types]
    if len(types) == 1:
        return query + sql.SQL(" WHERE r.k0 = ANY (%s::text[]::{}[])").format(types[0])
    names = sql.SQL(", ").join(sql.SQL(f"r.k{i}") for i in range(len(types)))
    arrays = sql.SQL(", ").join(sql.SQL("%s::text[]::{}[]").format(each) for each in types)
    return query + sql.SQL(" WHERE ({}) IN (SELECT * FROM unnest({}))").format(names, arrays)


def insert_statement(relation: InstalledRelation, query: sql.Composable) -> sql.Composed:
    """INSERT of the query's rows as records; gives their keys back."""
    key = sql.SQL(", ").join(sql.SQL(f"r.k{i}::text") for i in range(len(relation.key_types)))
    values = sql.SQL(", ").join(sql.SQL("r.{}::text").format(sql.Identifier(name)) for name in relation.columns)
    return sql.SQL(
        """INSERT INTO strangle_stream (stream, position, tick, kind, relation, key, values, occurred_at)
           SELECT %s, %s + row_number() OVER (), %s, %s, %s, ARRAY[{key}], ARRAY[{values}], to_timestamp(%s)
           FROM ({query}) r RETURNING key"""
    ).format(key=key, values=values, query=query)


def key_arrays(keys: Iterable[Key], width: int) -> list[list[str]]:
    """Keys as one array per key column."""
    rows = list(keys)
    return [[key[i] for key in rows] for i in range(width)]


@contextmanager
def _fits(relation: InstalledRelation, stream: str) -> Iterator[None]:
    """Say what to do when a schema migration has changed what a relation reads; nothing is lost, the outbox waits."""
    try:
        yield
    except (errors.ProgrammingError, errors.DataError) as error:
        if relation.transforms and isinstance(error, errors.DataError):
            raise unfit(relation, error) from None
        raise CaptureDrift(
            f"projection {relation.projection!r} of {stream!r} cannot be read any more: {describe_failure(error)}; "
            f"correct the playbook, then run strangle_doctor {stream} --mend. Until then its changes wait in the outbox"
        ) from error


def unfit(relation: InstalledRelation, error: errors.Error) -> TransformFailed:
    """What a function gave is no value of its column; PostgreSQL's message would hold the value."""
    made = ", ".join(f"{each.function!r} for {each.column!r}" for each in relation.transforms)
    return TransformFailed(
        f"what the mapping's functions give does not fit {relation.target_table!r} ({type(error).__name__}): {made}; "
        "correct the function, then run the same command again. Until then its changes wait in the outbox"
    )


class RelationProjector:
    """The Projector of messaging.ticks over the relations installed in the database."""

    def __init__(self) -> None:
        self._log = LogReader()
        self._statements: dict[tuple[object, ...], bytes] = {}

    def awaits(self, stream: str) -> bool:
        """Whether the log is the stream's source."""
        return self._log.has_source(stream)

    def logged(self, conn: Connection, *, stream: str, previous: str | None) -> list[Touch]:
        """See capture.log_reader; nothing where the stream is captured by triggers."""
        return self._log.read(conn, stream, previous)

    def project(self, conn: Connection, *, stream: str, tick: int, base: int, touches: Sequence[Touch]) -> int:
        """Write records for every key that the touches reach: rows, then patches, then endings (children first)."""
        relations = read_relations(conn, stream)
        reader = TouchReader(conn, stream, touches)
        rows = [r for r in relations if r.kind == "r"]
        patches = {r.projection: r for r in relations if r.kind == "p"}
        occurred = min(touch.occurred for touch in touches)
        position = base
        gone: list[tuple[InstalledRelation, list[Key]]] = []
        present: dict[str, set[Key]] = {}
        denormalised: list[tuple[InstalledRelation, set[Key]]] = []
        for relation in rows:
            with _fits(relation, stream):
                own, foreign = self._reach(conn, relation, reader, touches, patches)
            if own:
                found = self._write(conn, relation, own, stream, tick, position, occurred)
                position += len(found)
                gone.append((relation, endings(own, found.__contains__)))
                present.setdefault(relation.target_table, set()).update(found)
            if foreign - own and relation.projection in patches:
                denormalised.append((patches[relation.projection], foreign - own))
        for patch, keys in denormalised:
            position += len(self._write(conn, patch, keys, stream, tick, position, occurred))
        for relation, absent in reversed(gone):
            # A row that moved from one projection of a table to another one is not gone.
            missing = [key for key in absent if key not in present[relation.target_table]]
            position += self._write_gone(conn, relation, missing, stream, tick, position, occurred)
        points.reached("projector.done")
        return position - base

    def _reach(
        self,
        conn: Connection,
        relation: InstalledRelation,
        reader: TouchReader,
        touches: Sequence[Touch],
        patches: dict[str, InstalledRelation],
    ) -> tuple[set[Key], set[Key]]:
        """Keys to be read whole, and keys of which only denormalised columns follow another context."""
        own: set[Key] = set()
        foreign: set[Key] = set()
        for touch in touches:
            if touch.table == relation.source_table:
                bucket = foreign if touch.echo else own
                if relation.key_parts:
                    bucket.update(reader.keys(touch, relation.key_parts, relation.key_types))
                else:
                    bucket.update(tuple(key) for key in touch.keys.get("b", ()))
        for dependency in relation.dependencies:
            values = {
                value
                for touch in touches
                if touch.table == dependency["table"] and not touch.echo
                for value in reader.values(touch, dependency)
                if value is not None
            }
            if values:
                bucket = foreign if dependency["foreign"] else own
                bucket.update(self._dependants(conn, relation, dependency, sorted(values)))
        return own, foreign

    def _dependants(
        self, conn: Connection, relation: InstalledRelation, dependency: dict[str, Any], values: list[str]
    ) -> Iterable[Key]:
        names = sql.SQL(", ").join(sql.SQL(f"d.k{i}::text") for i in range(len(relation.key_types)))
        statement = sql.SQL("SELECT DISTINCT {} FROM ({}) d WHERE d.t0 = ANY (%s::text[]::{}[])").format(
            names, sql.SQL(dependency["query"].replace("%", "%%")), sql.SQL(dependency["type"])
        )
        return [tuple(row) for row in conn.execute(statement, [values])]

    def _write(
        self,
        conn: Connection,
        relation: InstalledRelation,
        keys: set[Key],
        stream: str,
        tick: int,
        base: int,
        occurred: float,
    ) -> set[Key]:
        ordered = sorted(keys)
        if relation.transforms:
            return self._write_made(conn, relation, ordered, stream, tick, base, occurred)
        return self._insert(
            conn,
            relation,
            self._keyed_insert(conn, relation),
            key_arrays(ordered, len(relation.key_types)),
            stream,
            tick,
            base,
            occurred,
        )

    def _write_made(
        self,
        conn: Connection,
        relation: InstalledRelation,
        keys: Sequence[Key],
        stream: str,
        tick: int,
        base: int,
        occurred: float,
    ) -> set[Key]:
        """The same where Python has a part in it, some thousand rows at a time, since they pass through memory."""
        found: set[Key] = set()
        for start in range(0, len(keys), ROWS_IN_PYTHON):
            arrays = key_arrays(keys[start : start + ROWS_IN_PYTHON], len(relation.key_types))
            with _fits(relation, stream):
                query, params = written_out(conn, relation, keyed_query(relation), arrays)
            found |= self._insert(conn, relation, query, params, stream, tick, base + len(found), occurred)
        return found

    def _keyed_insert(self, conn: Connection, relation: InstalledRelation) -> bytes:
        """The statement for these keys, written once: that takes longer than sending it."""
        declared = (relation.query, relation.columns, relation.key_types)
        if declared not in self._statements:
            self._statements[declared] = insert_statement(relation, keyed_query(relation)).as_bytes(conn)
        return self._statements[declared]

    def _insert(
        self,
        conn: Connection,
        relation: InstalledRelation,
        query: sql.Composable | bytes,
        arrays: Sequence[Any],
        stream: str,
        tick: int,
        base: int,
        occurred: float,
    ) -> set[Key]:
        statement = insert_statement(relation, query) if isinstance(query, sql.Composable) else query
        params: list[Any] = [stream, base, tick, relation.kind, relation.number, occurred, *arrays]
        with _fits(relation, stream):
            return {tuple(row[0]) for row in conn.execute(statement, params)}

    def _write_gone(
        self,
        conn: Connection,
        relation: InstalledRelation,
        keys: list[Key],
        stream: str,
        tick: int,
        base: int,
        occurred: float,
    ) -> int:
        if not keys:
            return 0
        conn.execute(
            """INSERT INTO strangle_stream (stream, position, tick, kind, relation, key, occurred_at)
               SELECT %s, %s + g.place, %s, 'g', %s, ARRAY(SELECT jsonb_array_elements_text(g.key)), to_timestamp(%s)
               FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS g(key, place)""",
            [stream, base, tick, relation.number, occurred, json.dumps(keys)],
        )
        return len(keys)
