"""A ClickHouse table as a replica's store, over whatever can run a statement."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Protocol

from migration_tools.errors import StoreError
from migration_tools.stores.canonical import Digests, RowHash
from migration_tools.stores.clickhouse import dialect, tsv
from migration_tools.stores.ports import Held, Key, Progress, Shape, VersionedRow, newest

# Longer texts of keys go in several statements: a server takes its parameters in the URL.
KEYS_AT_ONCE = 500


class Engine(Protocol):
    """What both adapters do; StoreError when ClickHouse refuses or is away, never with values of rows."""

    database: str

    def ask(self, statement: str, parameters: Mapping[str, str] | None = None) -> bytes:
        """Run a statement with parameters of type String; its answer in TabSeparated."""
        ...

    def insert(self, table: str, columns: Sequence[str], block: bytes) -> None:
        """Insert a TabSeparated block."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class ClickHouseStore:
    """The Store over an engine; see Note [the version rule] and `dialect` for how the newest version wins."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self._progress = f"{dialect.quote(engine.database)}.{dialect.quote(dialect.PROGRESS)}"

    def prepare(self, shape: Shape) -> None:
        """See Store."""
        self._engine.ask(f"CREATE DATABASE IF NOT EXISTS {dialect.quote(self._engine.database)}")
        self._engine.ask(dialect.create(self.table(shape), shape))
        self._engine.ask(dialect.create_progress(self._progress))
        held = {str(row[0]): str(row[1]) for row in tsv.decode(self._engine.ask(f"DESCRIBE TABLE {self.table(shape)}"))}
        if held != dialect.columns_of(shape):
            raise StoreError(
                f"table {shape.into!r} has columns {sorted(held)} of other names or types than the replica; "
                "drop it, or give the replica another `into`"
            )

    def upsert(self, shape: Shape, rows: Sequence[VersionedRow]) -> None:
        """See Store; one block, so it is there whole or not at all up to the server's block size."""
        kept = newest(rows)
        if not kept:
            return
        names = [column.name for column in shape.columns]
        places = [shape.key.index(name) if name in shape.key else None for name in names]
        lines = []
        for row in kept:
            values = row.values or tuple(None if place is None else row.key[place] for place in places)
            fields = [tsv.encode(column, value) for column, value in zip(shape.columns, values, strict=True)]
            lines.append(b"\t".join([*fields, b"%d" % row.version, b"%d" % (row.values is None)]))
        columns = [*names, dialect.VERSION, dialect.DELETED]
        self._engine.insert(self.table(shape), columns, b"\n".join(lines) + b"\n")

    def read(self, shape: Shape, keys: Collection[Key]) -> dict[Key, Held]:
        """See Store."""
        found: dict[Key, Held] = {}
        ordered = list(keys)
        for at in range(0, len(ordered), KEYS_AT_ONCE):
            block = tsv.encode_rows(shape.key_columns, ordered[at : at + KEYS_AT_ONCE]).decode()
            for row in tsv.decode(self._engine.ask(dialect.read(self.table(shape), shape), {"keys": block})):
                found[shape.key_of(row[1:])] = Held(version=int(row[0] or 0), values=row[1:])
        return found

    def digest(self, shape: Shape, buckets: int) -> Digests:
        """See Store; computed by ClickHouse."""
        answer = self._engine.ask(dialect.digest(self.table(shape), shape, buckets))
        return {
            int(bucket or 0): (int(count or 0), int(first or 0), int(second or 0))
            for bucket, count, first, second in tsv.decode(answer)
        }

    def scan(self, shape: Shape, buckets: int, wanted: Collection[int]) -> Iterator[tuple[Key, RowHash]]:
        """See Store."""
        block = "".join(f"{bucket}\n" for bucket in wanted)
        answer = self._engine.ask(dialect.scan(self.table(shape), shape, buckets), {"wanted": block})
        for row in tsv.decode(answer):
            yield tuple(str(part) for part in row[2:]), (int(row[0] or 0), int(row[1] or 0))

    def progress(self, shape: Shape) -> Progress | None:
        """See Store."""
        there = self._engine.ask(
            "SELECT count() FROM system.tables WHERE database = {database:String} AND name = {name:String}",
            {"database": self._engine.database, "name": dialect.PROGRESS},
        )
        if int(there) == 0:
            return None
        rows = list(
            tsv.decode(
                self._engine.ask(
                    f"SELECT progress FROM {self._progress} FINAL WHERE name = {{name:String}}",  # noqa: S608
                    {"name": shape.name},
                )
            )
        )
        if not rows or not rows[0][0]:
            return None
        document = json.loads(rows[0][0])
        return Progress(**{**document, "upto": None if document["upto"] is None else tuple(document["upto"])})

    def remember(self, shape: Shape, progress: Progress) -> None:
        """See Store."""
        self._write_progress(shape, json.dumps(asdict(progress)))

    def drop(self, shape: Shape) -> None:
        """See Store."""
        if self.progress(shape) is not None:
            self._write_progress(shape, "")
        self._engine.ask(f"DROP TABLE IF EXISTS {self.table(shape)} SYNC")

    def ask(self, statement: str, parameters: Mapping[str, str] | None = None) -> Iterator[tuple[str | None, ...]]:
        """What rows held here add up to: a SELECT of one's own, with parameters of type String; values as text."""
        return tsv.decode(self._engine.ask(statement, parameters))

    def close(self) -> None:
        """See Store."""
        self._engine.close()

    def _write_progress(self, shape: Shape, document: str) -> None:
        # The server's clock orders the entries: writers on several machines need not agree on the time.
        self._engine.ask(
            f"INSERT INTO {self._progress} SELECT {{name:String}}, now64(9), {{document:String}}",
            {"name": shape.name, "document": document},
        )

    def table(self, shape: Shape) -> str:
        """The table of a replica as statements name it; read it with FINAL."""
        return f"{dialect.quote(self._engine.database)}.{dialect.quote(shape.into)}"
