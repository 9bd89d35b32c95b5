"""Apply row records to the tables of this database: the newest state of each key, in the order references need."""

from collections.abc import Sequence

from migration_tools.capture.ownership import read_owner
from migration_tools.errors import TransferError
from migration_tools.kernel import points
from migration_tools.kernel.records import accepted, departures, newest
from migration_tools.messaging.batch import RelationHead, RowRecord
from migration_tools.stores.postgres import Connection, errors, sql
from migration_tools.stores.postgres.arrays import array_type, execute_with_arrays
from migration_tools.stores.postgres.catalog import Table, read_table

ROWS_PER_STATEMENT = 5_000


class TableWriter:
    """The RowApplier of messaging.inbox: upserts, patches and deletes by key; idempotent, order-free within a batch.

    Note [the last state wins]. A record holds the whole mapped row as of its tick and positions are dense, so of
    several records of one key only the last counts; applying it twice, or after a copy of a later instant, changes
    nothing wrong that a later record does not mend. Rows of an owned relation are refused where this side owns the
    context.
    """

    def __init__(self) -> None:
        self._shapes: dict[str, Table] = {}
        self._awaiting: set[str] = set()
        self._statements: dict[tuple[RelationHead, bool], bytes] = {}

    def apply(
        self, conn: Connection, stream: str, relations: dict[int, RelationHead], rows: Sequence[RowRecord]
    ) -> int:
        """Write the rows; call inside a transaction. Returns how many records counted."""
        if not rows:
            return 0
        wanted = self._permitted(conn, stream, relations)
        self._awaiting = self._uncopied(conn, stream)
        whole, patches = newest(relations, (row for row in rows if row.relation in wanted))
        _set_applying(conn, "row")
        tables = sorted(whole, key=lambda name: min(h.rank for h in relations.values() if h.table == name))
        for table in tables:
            self._upsert_all(conn, relations, list(whole[table].values()))
        points.reached("sync.rows_upserted")
        for table in reversed(tables):
            gone = [row for row in whole[table].values() if row.kind == "g"]
            if gone:
                self._delete(conn, relations[gone[0].relation], gone)
        if patches:
            _set_applying(conn, "patch")
        for part in _by_relation(patches):
            self._patch(conn, relations[part[0].relation], part)
        _set_applying(conn, "")
        return len(rows)

    def _permitted(self, conn: Connection, stream: str, relations: dict[int, RelationHead]) -> set[int]:
        """Relations whose rows may be written here: registered tables, and owned ones only while the other side
        owns."""
        known = {
            row[0] for row in conn.execute("SELECT table_name FROM strangle_captured_table WHERE stream = %s", [stream])
        }
        owner = read_owner(conn, stream)
        for head in relations.values():
            if head.table not in known:
                raise TransferError(
                    f"stream {stream!r} carries rows of {head.table!r}, which is not registered here; "
                    "run strangle_dual_write again, it installs what is missing"
                )
        return accepted(relations, owns=owner is not None and owner.may_write)

    def _uncopied(self, conn: Connection, stream: str) -> set[str]:
        """Tables whose history is not copied yet: a child there may come before its parent, see Note [early
        children]."""
        rows = conn.execute(
            """SELECT t.table_name FROM strangle_captured_table t JOIN strangle_ownership o ON o.context = t.stream
               LEFT JOIN strangle_copied_range c ON c.stream = t.stream
                 AND (c.projection = t.table_name OR starts_with(c.projection, t.table_name || ' '))
               WHERE t.stream = %s AND t.fenced GROUP BY t.table_name, o.side
               HAVING count(c) FILTER (WHERE c.done) < CASE WHEN count(c) = 0 THEN (o.side <> 'source')::int
                 ELSE max(COALESCE(NULLIF(split_part(c.projection, '/', 2), '')::int, 1)) END""",
            [stream],
        )
        return {row[0] for row in rows}

    def _shape(self, conn: Connection, table: str) -> Table:
        if table not in self._shapes:
            shape = read_table(conn, table)
            if shape is None:
                raise TransferError(f"table {table!r} is not in this database; run the schema migrations")
            self._shapes[table] = shape
        return self._shapes[table]

    def _upsert_all(self, conn: Connection, relations: dict[int, RelationHead], rows: list[RowRecord]) -> None:
        """Upsert a table's rows; those that ended go first only if one of them, or a swap, still holds a unique value.

        References are deferred to the commit, so nothing minds that a row is away for a moment.
        """
        changed = _by_relation([row for row in rows if row.kind == "r"])
        gone = _by_relation([row for row in rows if row.kind == "g"])
        attempts = list(departures(gone, changed))
        for leaving in attempts:
            try:
                with conn.transaction():
                    for part in leaving:
                        self._delete(conn, relations[part[0].relation], part)
                    for part in changed:
                        self._upsert(conn, relations[part[0].relation], part)
                return
            except errors.UniqueViolation:
                if leaving is attempts[-1]:
                    raise

    def _upsert(self, conn: Connection, head: RelationHead, rows: list[RowRecord]) -> None:
        shape = self._shape(conn, head.table)
        early = head.table in self._awaiting and bool(shape.references)
        statement = self._statements.get((head, early))
        if statement is None:
            statement = upsert_statement(shape, head, only_with_parents=early).as_bytes(conn)
            self._statements[(head, early)] = statement
        types = [shape.columns[name].type for name in head.columns]
        for start in range(0, len(rows), ROWS_PER_STATEMENT):
            part = rows[start : start + ROWS_PER_STATEMENT]
            columns = list(zip(*(row.values or () for row in part), strict=True))
            if early:
                execute_with_arrays(conn, early_children_statement(shape, head), columns, types)
            execute_with_arrays(conn, statement, columns, types)

    def _delete(self, conn: Connection, head: RelationHead, rows: list[RowRecord]) -> None:
        shape = self._shape(conn, head.table)
        match, arrays = _key_match(shape, head)
        execute_with_arrays(
            conn,
            sql.SQL("DELETE FROM {} t USING {} WHERE {}").format(sql.Identifier(head.table), arrays, match),
            [[row.key[i] for row in rows] for i in range(len(head.key))],
            [shape.columns[name].type for name in head.key],
        )

    def _patch(self, conn: Connection, head: RelationHead, rows: list[RowRecord]) -> None:
        shape = self._shape(conn, head.table)
        free = [name for name in head.columns if name not in head.key]
        sets = sql.SQL(", ").join(
            sql.SQL("{0} = u.{0}::{1}").format(sql.Identifier(n), sql.SQL(shape.columns[n].base)) for n in free
        )
        names = sql.SQL(", ").join(sql.Identifier(name) for name in head.columns)
        match = sql.SQL(" AND ").join(
            sql.SQL("t.{0} = u.{0}::{1}").format(sql.Identifier(n), sql.SQL(shape.columns[n].base)) for n in head.key
        )
        arrays = _arrays(shape, head.columns)
        execute_with_arrays(
            conn,
            sql.SQL("UPDATE {} t SET {} FROM unnest({}) AS u({}) WHERE {}").format(
                sql.Identifier(head.table), sets, arrays, names, match
            ),
            list(zip(*(row.values or () for row in rows), strict=True)),
            [shape.columns[name].type for name in head.columns],
        )


def upsert_statement(shape: Table, head: RelationHead, *, only_with_parents: bool = False) -> sql.Composed:
    """INSERT … SELECT from one array per column … ON CONFLICT DO UPDATE, only where something differs.

    Note [early children]. While a table's history is not copied, an old row's children may change before the row itself
    is here. With `only_with_parents` such children are left out: parents are copied first and whole, so the chunk that
    copies the child later brings it, as of a later tick. What an earlier event put here of such a child is taken out
    (early_children_statement): it refers to a former parent, whose end it would forbid.
    """
    names = sql.SQL(", ").join(sql.Identifier(name) for name in head.columns)
    casts = sql.SQL(", ").join(
        sql.SQL("u.{}::{}").format(sql.Identifier(name), sql.SQL(shape.columns[name].base)) for name in head.columns
    )
    arrays = _arrays(shape, head.columns)
    parents = sql.SQL(" WHERE {}").format(_parents_exist(shape)) if only_with_parents else sql.SQL("")
    rows = sql.SQL("SELECT {} FROM unnest({}) AS u({}){}").format(casts, arrays, names, parents)
    return upsert_from(shape, head.columns, head.key, rows)


def upsert_from(shape: Table, columns: Sequence[str], key: Sequence[str], rows: sql.Composable) -> sql.Composed:
    """INSERT of the query's rows into the table, identity columns included; on conflict update what differs.

    Note [equal but not the same]. Under a nondeterministic collation, and for citext, interval, -0 or 1.0, a value may
    change into one that equals it. So such columns are compared by their text, such a key is written too where it
    conflicts, and a row is deleted only by the very key it has (_key_match): not when its key became an equal one.
    """
    free = [name for name in columns if name not in key and not shape.columns[name].always]
    free += [name for name in key if not shape.columns[name].exact]
    action: sql.Composable = sql.SQL("DO NOTHING")
    if free:
        action = sql.SQL("DO UPDATE SET {} WHERE ({}) IS DISTINCT FROM ({})").format(
            sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name)) for name in free),
            sql.SQL(", ").join(_exact(shape, name, "t") for name in free),
            sql.SQL(", ").join(_exact(shape, name, "EXCLUDED") for name in free),
        )
    return sql.SQL("INSERT INTO {} AS t ({}) {}{} ON CONFLICT ({}) {}").format(
        sql.Identifier(shape.name),
        sql.SQL(", ").join(sql.Identifier(name) for name in columns),
        sql.SQL("OVERRIDING SYSTEM VALUE " if any(c.identity for c in shape.columns.values()) else ""),
        rows,
        sql.SQL(", ").join(sql.Identifier(name) for name in key),
        action,
    )


def _exact(shape: Table, name: str, row: str) -> sql.Composed:
    """The column as something of which equal means the same; see Note [equal but not the same]."""
    how = "{}.{}" if shape.columns[name].exact else '{}.{}::text COLLATE "C"'
    return sql.SQL(how).format(sql.SQL(row), sql.Identifier(name))


def early_children_statement(shape: Table, head: RelationHead) -> sql.Composed:
    """DELETE of the rows, given as for the upsert, whose parent is not here; see Note [early children]."""
    names = sql.SQL(", ").join(sql.Identifier(name) for name in head.columns)
    arrays = _arrays(shape, head.columns)
    match = sql.SQL(" AND ").join(
        sql.SQL("t.{0} = u.{0}::{1}").format(sql.Identifier(n), sql.SQL(shape.columns[n].base)) for n in head.key
    )
    return sql.SQL("DELETE FROM {} t USING unnest({}) AS u({}) WHERE {} AND NOT ({})").format(
        sql.Identifier(head.table), arrays, names, match, _parents_exist(shape)
    )


def _parents_exist(shape: Table) -> sql.Composed:
    """Every reference of the row finds its row, or is NULL."""
    checks: list[sql.Composable] = [sql.SQL("true")]
    for reference in shape.references:
        pairs = list(zip(reference.columns, reference.target_columns, strict=True))
        nulls = sql.SQL(" OR ").join(sql.SQL("u.{} IS NULL").format(sql.Identifier(ours)) for ours, _ in pairs)
        match = sql.SQL(" AND ").join(
            sql.SQL("p.{} = u.{}::{}").format(
                sql.Identifier(theirs),
                sql.Identifier(ours),
                sql.SQL(shape.columns[ours].base),
            )
            for ours, theirs in pairs
        )
        checks.append(
            sql.SQL("({} OR EXISTS (SELECT FROM {} p WHERE {}))").format(nulls, sql.Identifier(reference.target), match)
        )
    return sql.SQL(" AND ").join(checks)


def _arrays(shape: Table, names: Sequence[str]) -> sql.Composed:
    """A parameter per column, typed as execute_with_arrays sends it."""
    return sql.SQL(", ").join(sql.SQL("%s::{}").format(array_type(shape.columns[name].type)) for name in names)


def _set_applying(conn: Connection, mode: str) -> None:
    """Tell the triggers that this transaction is the apply path; see Note [applying]."""
    conn.execute("SELECT set_config('strangle.applying', %s, true)", [mode])


def _by_relation(rows: list[RowRecord]) -> list[list[RowRecord]]:
    """Group rows by relation, since two declarations of one projection may order values differently."""
    if len({row.relation for row in rows}) == 1:
        return [rows]
    groups: dict[int, list[RowRecord]] = {}
    for row in rows:
        groups.setdefault(row.relation, []).append(row)
    return list(groups.values())


def _key_match(shape: Table, head: RelationHead) -> tuple[sql.Composed, sql.Composed]:
    """(condition joining t and u on the very same key, unnest of one array per key column AS u)."""
    names = sql.SQL(", ").join(sql.Identifier(name) for name in head.key)
    arrays = _arrays(shape, head.key)
    match = []
    for name in head.key:
        values = {"name": sql.Identifier(name), "type": sql.SQL(shape.columns[name].base)}
        match.append(sql.SQL("t.{name} = u.{name}::{type}").format(**values))
        if not shape.columns[name].exact:
            same = 't.{name}::text COLLATE "C" = u.{name}::{type}::text COLLATE "C"'
            match.append(sql.SQL(same).format(**values))
    return sql.SQL(" AND ").join(match), sql.SQL("unnest({}) AS u({})").format(arrays, names)
