"""The final dump: one file a table with its checksum, a manifest of what the tables were, and the restore of it.

Note [the same bytes]. COPY in binary writes rows as they lie in the table, and loads them so that they lie as in the
file. A restore is therefore compared by dumping it again: every byte must come back, whatever types the columns have.
Scans that begin in the middle of a large table, where another one is, would give another order; each session forbids
them.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from migration_tools.errors import ArchiveBroken, StrangleError
from migration_tools.kernel import points
from migration_tools.kernel.watch import Watch, told
from migration_tools.stores.postgres import Connection, connect, errors, sql, transaction
from migration_tools.stores.postgres.catalog import estimated_rows
from migration_tools.stores.postgres.definitions import complete, create, read_definition, refer

MANIFEST = "manifest.json"
VERSION = 2
_BLOCK = 1 << 20
STOPPED = "stopped; what it had restored is dropped again. Run the same command again"

#: A number of rows and two sums over hashes of all their values: equal for equal rows in any order.
Sums = tuple[int, str, str]


def dump(conn: Connection, context: str, tables: list[str], directory: Path, watch: Watch) -> dict[str, Any]:
    """Write each table and the manifest; give the manifest. No file has its name before all are whole."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    manifest: dict[str, Any] = {"version": VERSION, "context": context, "made": time.time(), "tables": {}}
    with ExitStack() as files:
        last = files.enter_context(_named_when_whole(directory / MANIFEST))
        for table in tables:
            path = directory / f"{table}.copy"
            manifest["tables"][table] = {
                **_dump(conn, table, files.enter_context(_named_when_whole(path)), watch),
                "file": path.name,
                "definition": read_definition(conn, table),
            }
        _write(last, json.dumps(manifest, indent=2))
    return manifest


def prove(conn: Connection, table: str, directory: Path, made: dict[str, Any], watch: Watch) -> None:
    """Load a table's file into a temporary table beside it and compare, before the table goes anywhere."""
    copy = f"strangle_proof_{table}"[:63]
    with transaction(conn):
        conn.execute(
            sql.SQL("CREATE TEMPORARY TABLE {} (LIKE {} INCLUDING GENERATED) ON COMMIT DROP").format(
                sql.Identifier(copy), sql.Identifier(table)
            )
        )
        _load(conn, copy, directory / made["file"], made["sha256"])
        again = _dump(conn, copy, None, watch, rows=made["rows"], title=f"prove the dump of {table}")
    if (again["rows"], again["sha256"]) != (made["rows"], made["sha256"]):
        raise ArchiveBroken(
            f"the dump of {table!r} does not read back as the table it was made from; nothing was moved. Check the "
            f"disk of {directory}"
        )


def manifest_checksum(directory: Path) -> str:
    """Of the file as it lies there: what the journal remembers."""
    return hashlib.sha256((directory / MANIFEST).read_bytes()).hexdigest()


def read_manifest(directory: Path, *, known: str = "") -> dict[str, Any]:
    """The manifest, which must have the checksum that the journal knows, if it knows one.

    Raises:
        ArchiveBroken: it is not there, was changed, or is of a version that cannot be restored.
    """
    try:
        text = (directory / MANIFEST).read_bytes()
    except OSError as error:
        raise ArchiveBroken(
            f"there is no dump in {directory} ({error.strerror}); name its place with --directory"
        ) from error
    if known and hashlib.sha256(text).hexdigest() != known:
        raise ArchiveBroken(f"{directory / MANIFEST} is not the manifest that the journal knows: it was changed")
    manifest: dict[str, Any] = json.loads(text)
    if manifest.get("version") != VERSION:
        raise ArchiveBroken(
            f"the dump in {directory} is of an older version and does not say what its tables were; run "
            f"strangle_rollback {manifest.get('context')}, then strangle_decommission again"
        )
    return manifest


def restore(
    conn: Connection, directory: Path, manifest: dict[str, Any], schema: str, *, watch: Watch
) -> dict[str, Any]:
    """Make the dump's tables in a schema that is not there yet, and compare them whole with the dump.

    Raises:
        ArchiveBroken: a file is not what the manifest says, or what it restores to is not what was dumped.
    """
    began = time.monotonic()
    tables: dict[str, Any] = manifest["tables"]
    conn.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    conn.execute("SELECT set_config('search_path', %s, false)", [f'"{schema}", public'])
    left_out: list[str] = []
    for table, made in tables.items():
        watch.heed(STOPPED)
        create(conn, table, made["definition"])
        _load(conn, table, directory / made["file"], made["sha256"])
        again = _dump(conn, table, None, watch, rows=made["rows"], title=f"compare {table}")
        if (again["rows"], again["sha256"]) != (made["rows"], made["sha256"]):
            raise ArchiveBroken(
                f"{directory / made['file']} restores to {again['rows']} rows of {table!r} that are not the "
                f"{made['rows']} that were dumped"
            )
        left_out += complete(conn, table, made["definition"], among=set(tables))
    for table, made in tables.items():
        refer(conn, table, made["definition"], among=set(tables))
    return {
        "rows": {table: made["rows"] for table, made in tables.items()},
        "references_left_out": left_out,
        "seconds": round(time.monotonic() - began, 3),
    }


def sums(conn: Connection, table: str) -> Sums:
    """Rows and hashes of all values of a table, by their text as our sessions spell it."""
    row = conn.execute(
        sql.SQL(
            "SELECT count(*), coalesce(sum(hashtextextended(r::text, 0)), 0)::text, "
            "coalesce(sum(hashtextextended(r::text, 1)), 0)::text FROM {} r"
        ).format(sql.Identifier(table))
    ).fetchone()
    return (int(row[0]), str(row[1]), str(row[2])) if row else (0, "", "")


@contextmanager
def scratch_database(alias: str, context: str) -> Iterator[Connection]:
    """An empty database of its own on the server of `alias`, gone after the block; one that a crash left goes first.

    Raises:
        StrangleError: the role may not make one.
    """
    with connect(alias, "scratch") as conn:
        stem = f"strangle_scratch_{conn.info.dbname}_{context}"
        name = stem if len(stem) < 64 else f"{stem[:50]}_{hashlib.sha256(stem.encode()).hexdigest()[:10]}"
        forget = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        try:
            conn.execute(forget)
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except errors.InsufficientPrivilege as error:
            raise StrangleError(
                f"role {conn.info.user!r} may not make the scratch database {name!r} for the restore: give it CREATEDB "
                "(ALTER ROLE … CREATEDB), or name another database with --scratch ALIAS"
            ) from error
        try:
            with connect(alias, "restore", database=name) as scratch:
                yield scratch
        finally:
            if not conn.closed:
                conn.execute(forget)


@contextmanager
def opened_scratch(
    alias: str | None, source: str, context: str, *, keep: bool = False
) -> Iterator[tuple[Connection, str]]:
    """Where to restore: the database that the operator names, or one made for it beside `source`; and the schema.

    The schema is gone after the block unless it is to be kept; one that a crash left goes before it.
    """
    schema = f"strangle_restored_{context}"
    forget = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema))
    with connect(alias, "restore") if alias else scratch_database(source, context) as conn:
        conn.execute(forget)
        try:
            yield conn, schema
        except BaseException:
            keep = False
            raise
        finally:
            if not keep and not conn.closed:
                conn.execute(forget)


@contextmanager
def _named_when_whole(path: Path) -> Iterator[Path]:
    """A file beside it that gets its name at the end of the block, and is gone if the block does not come to it."""
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _dump(
    conn: Connection, table: str, path: Path | None, watch: Watch, *, rows: int | None = None, title: str = ""
) -> dict[str, Any]:
    """Copy a table out, into a file if one is given: rows and checksum; `rows` if it is known how many there are."""
    total = estimated_rows(conn, table) if rows is None else rows
    with watch.progress(title or f"dump {table}", total) as bar:

        def passed(count: int) -> None:
            bar.advance(count)
            points.reached("dumps.rows")
            watch.heed(STOPPED)

        return _copy_out(conn, table, path, passed)


def _copy_out(conn: Connection, table: str, path: Path | None, passed: Callable[[int], None]) -> dict[str, Any]:
    conn.execute("SET synchronize_seqscans = off")
    digest = hashlib.sha256()
    if path is not None:
        path.touch(mode=0o600)
    with path.open("wb") if path else open(os.devnull, "wb") as file, conn.cursor() as cursor:
        with cursor.copy(sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(sql.Identifier(table))) as rows:
            for block in told(rows, passed):  # a row each
                digest.update(block)
                file.write(block)
        file.flush()
        if path is not None:
            os.fsync(file.fileno())
        return {"rows": cursor.rowcount, "sha256": digest.hexdigest()}


def _load(conn: Connection, table: str, path: Path, checksum: str) -> None:
    copy = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(sql.Identifier(table))
    try:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != checksum:
                raise ArchiveBroken(f"{path} does not have the checksum that the manifest says: it was changed")
            file.seek(0)
            with conn.cursor() as cursor, cursor.copy(copy) as sink:
                while block := file.read(_BLOCK):
                    sink.write(block)
    except OSError as error:
        raise ArchiveBroken(f"{path} cannot be read: {error.strerror}") from error
