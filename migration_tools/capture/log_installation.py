"""Let a stream be captured from the log: publication, slot and what the reader must know, each step idempotent."""

import json
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from migration_tools.capture.declaration import Status, TableSpec
from migration_tools.capture.log_reader import lost_remedy, read_source
from migration_tools.conf import settings
from migration_tools.errors import CaptureDrift, FenceBusy, LogLost
from migration_tools.kernel import points
from migration_tools.kernel.locks import LockClass
from migration_tools.messaging.ticks import append_tick
from migration_tools.stores.postgres import Connection, advisory, describe_failure, errors, slots, transaction
from migration_tools.stores.postgres.catalog import read_table

SLOT_SECONDS = 30.0
OLDER_ATTEMPTS = 600
OLDER_SECONDS = 0.05


def install_log(conn: Connection, stream: str, tables: Sequence[TableSpec], *, wait: Callable[[float], None]) -> None:
    """Capture these tables from the log; safe to repeat, also when it was killed anywhere.

    Note [the start of the log]. The publication is made first, since the decoder looks it up as it was when a row was
    written. Then the slot, which waits for every transaction that runs; what commits later is in it, whole. Only then
    the reader is told. So each write is in the slot or visible to every later snapshot: copying may begin, and
    triggers that captured so far may go. A table that is added later is published first, then every transaction that
    may have written it unpublished is waited for.

    Raises:
        CaptureDrift: the server or a table cannot be read from the log, with every remedy at once.
        LogLost: what was installed before is lost; it is not made anew, for writes would be missing.
        FenceBusy: a transaction did not end in time; the same call goes on from there.
    """
    roots = [table for table in tables if not table.reported_as]
    mistakes = log_mistakes(conn, roots)
    if mistakes:
        raise CaptureDrift(f"{stream!r} cannot be captured from the log: " + "; ".join(mistakes))
    described = {table.table: _describe(conn, table) for table in roots}
    source = read_source(conn, stream)
    if source is not None:
        slot = slots.read_slot(conn, source.slot)
        if slot is None or slot.lost:
            raise LogLost(f"replication slot {source.slot!r} of {stream!r} is lost; {lost_remedy(stream)}")
        published = slots.published_tables(conn, source.publication)
        if source.tables == described and published == sorted(described):
            return
        slots.set_publication(conn, source.publication, described)
        _wait_for_older(conn, stream, wait)
        conn.execute("UPDATE strangle_log_source SET tables = %s WHERE stream = %s", [json.dumps(described), stream])
        return
    name = slots.slot_name(conn, stream)
    try:
        slots.set_publication(conn, name, described)
        points.reached("log.published")
        # One left by a kill, that nobody was told of, may hold rows written before the publication.
        slots.drop_slot(conn, name)
        begins = slots.create_slot(conn, name, timeout_seconds=SLOT_SECONDS)
    except errors.QueryCanceled as error:
        raise FenceBusy(
            f"the slot of {stream!r} waited {SLOT_SECONDS:.0f} s for transactions that run on this server, in any "
            "database; end the oldest (pg_stat_activity, pg_prepared_xacts), then run the same command again"
        ) from error
    except (errors.InsufficientPrivilege, errors.ConfigurationLimitExceeded) as error:
        raise CaptureDrift(
            f"{stream!r} cannot be captured from the log: {describe_failure(error)}; the role needs REPLICATION and "
            "must own the tables, the server needs a free slot (max_replication_slots)"
        ) from error
    points.reached("log.slot_made")
    conn.execute(
        """INSERT INTO strangle_log_source (stream, slot, publication, token, tables, confirmed)
           VALUES (%s, %s, %s, %s, %s, %s)""",
        [stream, name, name, secrets.token_hex(16), json.dumps(described), begins],
    )
    points.reached("log.installed")


def log_mistakes(conn: Connection, tables: Sequence[TableSpec]) -> list[str]:
    """What keeps these tables from being read from the log, in sentences with their remedies.

    A table without a replica identity is refused *before* it is published: once it is, PostgreSQL refuses the
    application's own updates of it.
    """
    mistakes = []
    level = slots.log_level(conn)
    if level != "logical":
        mistakes.append(f"wal_level is {level!r}; set it to 'logical' and restart the server")
    for table in tables:
        needed = {*(table.key if table.is_base else ()), *table.reported}
        for part, known in slots.identities(conn, table.table).items():
            if not known:
                mistakes.append(
                    f"{part!r} has no replica identity, so its updates would fail once it is published; give it a "
                    f"primary key or ALTER TABLE {part} REPLICA IDENTITY FULL"
                )
            elif not needed <= known:
                mistakes.append(
                    f"the log would not tell the old {sorted(needed - known)} of a row of {part!r}; ALTER TABLE {part} "
                    "REPLICA IDENTITY FULL"
                )
        shape = read_table(conn, table.table)
        generated = sorted(name for name in needed if shape and shape.columns[name].generated)
        if generated:
            mistakes.append(f"{generated} of {table.table!r} are generated, which the log leaves out; use triggers")
    return mistakes


def inspect_log(conn: Connection, stream: str, tables: Sequence[TableSpec]) -> Status | None:
    """How the capture from the log compares with the tables declared; None when there is none and none is wanted."""
    source = read_source(conn, stream)
    if source is None:
        return Status.MISSING if tables else None
    if not tables:
        return Status.OUTDATED
    slot = slots.read_slot(conn, source.slot)
    described = {table.table: _describe(conn, table) for table in tables if not table.reported_as}
    if slot is None or slot.lost or slots.published_tables(conn, source.publication) != sorted(source.tables):
        return Status.DRIFTED
    return Status.INSTALLED if source.tables == described else Status.OUTDATED


def end_log(conn: Connection, stream: str, *, forget: bool) -> None:
    """Take what the log still holds into a tick, then give slot and publication back; nothing where there are none.

    Call when triggers capture all that is still captured. With `forget` nothing is: what cannot be read is let go.

    Raises:
        CaptureDrift: what the log holds cannot be taken, and is not to be forgotten.
    """
    source = read_source(conn, stream)
    if source is None:
        return
    from migration_tools.capture.projector import RelationProjector

    with advisory.held(conn, LockClass.TICK, stream):
        try:
            with transaction(conn, repeatable=True):
                append_tick(conn, stream, RelationProjector())
        except CaptureDrift:
            if not forget:
                raise
        points.reached("log.last_tick")
        _drop(conn, stream, source.slot, source.publication)


def drop_log(conn: Connection, stream: str) -> None:
    """Give slot and publication back, whatever they hold; safe to repeat."""
    source = read_source(conn, stream)
    if source is not None:
        with advisory.held(conn, LockClass.TICK, stream):
            _drop(conn, stream, source.slot, source.publication)


def _drop(conn: Connection, stream: str, slot: str, publication: str) -> None:
    slots.drop_slot(conn, slot)
    points.reached("log.slot_dropped")
    slots.drop_publication(conn, publication)
    conn.execute("DELETE FROM strangle_log_source WHERE stream = %s", [stream])


def _describe(conn: Connection, table: TableSpec) -> dict[str, Any]:
    return {
        "key": list(table.key),
        "is_base": table.is_base,
        "watched": list(table.watched),
        "reported": list(table.reported),
        "echoes": table.echoes,
        "recast": slots.recasts(conn, table.table, (*table.key, *table.reported)),
    }


def _wait_for_older(conn: Connection, stream: str, wait: Callable[[float], None]) -> None:
    """Return when every transaction that runs now has ended."""
    row = conn.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchone()
    limit = row[0] if row else "0"
    for _ in range(OLDER_ATTEMPTS):
        ended = conn.execute("SELECT pg_snapshot_xmin(pg_current_snapshot()) >= %s::xid8", [limit]).fetchone()
        if ended and ended[0]:
            return
        wait(OLDER_SECONDS)
    raise FenceBusy(
        f"a transaction that is older than the change of {stream!r}'s publication did not end; end it "
        "(strangle_doctor names it), then run the same command again"
    )


def retained(conn: Connection, stream: str) -> dict[str, Any] | None:
    """What the stream's slot makes the server keep, for people; None when triggers capture it."""
    source = read_source(conn, stream)
    if source is None:
        return None
    slot = slots.read_slot(conn, source.slot)
    return {
        "slot": source.slot,
        "retained_bytes": slot.retained if slot else None,
        "limit_bytes": settings().LOG_RETAINED_BYTES,
        "bytes_until_lost": slot.limit if slot else None,
        "lost": slot is None or slot.lost,
    }


def log_findings(conn: Connection, stream: str) -> list[str]:
    """What is wrong with the stream's slot, in sentences: it is lost, or keeps more of the log than is allowed."""
    kept = retained(conn, stream)
    if kept is None:
        return []
    if kept["lost"]:
        return [f"replication slot {kept['slot']!r} is lost; {lost_remedy(stream)}"]
    if kept["retained_bytes"] <= kept["limit_bytes"]:
        return []
    return [
        f"replication slot {kept['slot']!r} makes the server keep {kept['retained_bytes']:,} bytes of log, more than "
        f"LOG_RETAINED_BYTES ({kept['limit_bytes']:,}); start strangle_relay {stream} or end the transaction that "
        "holds it back (strangle_status), else the disk fills, or the slot is lost at max_slot_wal_keep_size"
    ]
