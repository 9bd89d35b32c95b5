"""Take out of the receiver what the sender no longer has, children first, before the sender's events arrive again.

Note [stale rows]. While a stream stood still, rows ended at the sender, or moved to another parent. The receiver still
holds them as they were: a chunk or an event that deletes their parent would break their reference, and so would every
try after it. So, with the sender captured again and the receiver's consumer stopped, every row whose key or reference
the sender does not have now is deleted in one transaction. What is left refers only to rows that the sender has, or
whose end is an event to come; a row that moved to another parent comes back with its chunk.

Note [rows that waited]. What was captured before the stream stood still and not applied yet may since have ended, of
which the stream does not know: applied after the sweep it would be stale again. So the sweep is made at a tick, and
the receiver's position of rows set to it in the same transaction. The copy brings all rows as of a later tick; events
that are not rows keep their own position.
"""

from migration_tools.capture.applying import mark_applying
from migration_tools.capture.relations import InstalledRelation
from migration_tools.kernel import points
from migration_tools.messaging.inbox import pass_over_rows
from migration_tools.stores.postgres import Connection, sql, transaction
from migration_tools.stores.postgres.catalog import Table, read_table
from migration_tools.stores.postgres.copying import pipe
from migration_tools.transfer.copy import whole_relations
from migration_tools.transfer.stops import Ends, gate, tick_and_export

STAGING = "strangle_still_there"


def sweep(ends: Ends) -> int:
    """Delete the receiver's stale rows of every whole relation; returns how many. See Note [stale rows].

    Opens its own transaction on both sides; all or nothing, safe to repeat.
    """
    deleted = 0
    with gate(ends):
        position = tick_and_export(ends.sender, ends.reader, ends.stream)
        try:
            with transaction(ends.receiver):
                mark_applying(ends.receiver, "row")
                for relation in reversed(whole_relations(ends.sender, ends.stream)):
                    shape = read_table(ends.receiver, relation.target_table)
                    assert shape is not None  # noqa: S101  (compiled against it)
                    deleted += _sweep_table(ends.reader, ends.receiver, relation, shape)
                pass_over_rows(ends.receiver, ends.stream, position)
                points.reached("sweep.before_commit")
        finally:
            if not ends.reader.closed:
                ends.reader.execute("ROLLBACK")
    return deleted


def _sweep_table(reader: Connection, receiver: Connection, relation: InstalledRelation, shape: Table) -> int:
    references = {name for reference in shape.references for name in reference.columns}
    columns = [name for name in relation.columns if name in references or name in relation.key_columns]
    names = sql.SQL(", ").join(sql.Identifier(name) for name in columns)
    target, staging = sql.Identifier(relation.target_table), sql.Identifier(STAGING)
    receiver.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
            staging, names, target
        )
    )
    query = sql.SQL("SELECT {} FROM ({}) r").format(
        sql.SQL(", ").join(sql.SQL("r.{}").format(sql.Identifier(name)) for name in columns), sql.SQL(relation.query)
    )
    pipe(reader, query, receiver, STAGING, columns, [shape.columns[name].type for name in columns])
    receiver.execute(sql.SQL("ANALYZE {}").format(staging))
    same = [_same(name, exactly=name in relation.key_columns) for name in columns]
    gone = receiver.execute(
        sql.SQL("DELETE FROM {} t WHERE NOT EXISTS (SELECT FROM {} s WHERE {})").format(
            target, staging, sql.SQL(" AND ").join(same)
        )
    ).rowcount
    receiver.execute(sql.SQL("DROP TABLE {}").format(staging))
    return gone


def _same(name: str, *, exactly: bool) -> sql.Composed:
    form = "s.{0} = t.{0}" if exactly else "s.{0} IS NOT DISTINCT FROM t.{0}"
    return sql.SQL(form).format(sql.Identifier(name))
