"""Find rows whose copies of another context's columns are out of date at the owner, and have the sync mend them."""

from collections.abc import Iterator

from migration_tools.capture.projector import ROWS_IN_PYTHON
from migration_tools.capture.relations import InstalledRelation, read_relations
from migration_tools.kernel import points
from migration_tools.messaging.models import OutboxKind
from migration_tools.stores.postgres import Connection, sql, transaction
from migration_tools.stores.postgres.catalog import read_table
from migration_tools.stores.postgres.copying import pipe
from migration_tools.transfer.mapped import rows_within
from migration_tools.transfer.ranges import Bound, KeyRange, next_bound, source_condition
from migration_tools.transfer.stops import Ends

STAGING = "strangle_denormalised"
KEYS_A_TOUCH = 5_000


def refresh(ends: Ends) -> int:
    """Write an echo for every row whose denormalised columns differ at the owner; returns how many.

    `ends` flow from the owner to the side whose columns are copied, where capture must be on: what changes later is
    captured, so only what changed while it was off is looked for here. The answer to an echo is a patch of these
    columns alone, see Note [applying].
    """
    found = 0
    for relation in read_relations(ends.receiver, ends.stream):
        if relation.kind == "p":
            with transaction(ends.receiver):
                found += _echo(ends, relation)
                points.reached("denormalised.before_commit")
    return found


def _echo(ends: Ends, relation: InstalledRelation) -> int:
    shape = read_table(ends.sender, relation.target_table)
    assert shape is not None  # noqa: S101  (compiled against it)
    staging = sql.Identifier(STAGING)
    names = [sql.Identifier(name) for name in relation.columns]
    types = [shape.columns[name].type for name in relation.columns]
    ends.receiver.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(
            staging,
            sql.SQL(", ").join(
                sql.SQL("{} {}").format(name, sql.SQL(each)) for name, each in zip(names, types, strict=True)
            ),
        )
    )
    theirs = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(names), sql.Identifier(relation.target_table))
    pipe(ends.sender, theirs, ends.receiver, STAGING, relation.columns, types)
    rows = []
    for portion in _portions(ends.receiver, relation):
        rows += ends.receiver.execute(_differing(relation, portion)).fetchall()
    ends.receiver.execute(sql.SQL("DROP TABLE {}").format(staging))
    ends.receiver.cursor().executemany(
        """INSERT INTO strangle_outbox (stream, kind, table_name, touched)
           VALUES (%s, %s, %s, jsonb_build_object('b', %s::jsonb))""",
        [(ends.stream, OutboxKind.ECHO, relation.source_table, keys) for keys, _ in rows],
    )
    return sum(count for _, count in rows)


def _portions(conn: Connection, relation: InstalledRelation) -> Iterator[sql.Composable]:
    """The relation's rows as FROM items with alias r: all at once, unless Python makes them."""
    after: Bound | None = None
    while relation.transforms:
        upto = next_bound(conn, relation, after, ROWS_IN_PYTHON)
        yield rows_within(conn, relation, source_condition(relation, KeyRange(after=after, upto=upto)))
        if upto is None:
            return
        after = upto
    yield rows_within(conn, relation, None)


def _differing(relation: InstalledRelation, rows: sql.Composable) -> sql.Composed:
    """(JSON list of keys, how many) of rows that both have and that differ, KEYS_A_TOUCH to a row."""
    keys = sql.SQL(", ").join(sql.SQL(f"r.k{i}::text") for i in range(len(relation.key_types)))
    same = sql.SQL(" AND ").join(sql.SQL("s.{0} = r.{0}").format(sql.Identifier(n)) for n in relation.key_columns)
    ours, theirs = (
        sql.SQL(", ").join(sql.SQL(f"{alias}.{{}}").format(sql.Identifier(n)) for n in relation.columns)
        for alias in ("r", "s")
    )
    return sql.SQL(
        """SELECT jsonb_agg(d.key)::text, count(*) FROM (
               SELECT jsonb_build_array({keys}) AS key, (row_number() OVER () - 1) / {size} AS part
               FROM {rows} JOIN {staging} s ON {same} WHERE ({ours}) IS DISTINCT FROM ({theirs})) d
           GROUP BY d.part"""
    ).format(
        keys=keys,
        size=sql.Literal(KEYS_A_TOUCH),
        rows=rows,
        staging=sql.Identifier(STAGING),
        same=same,
        ours=ours,
        theirs=theirs,
    )
