"""Apply row records to the tables of this database: the newest state of each key, in the order references need."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from migration_tools.capture.applying import mark_applying
from migration_tools.errors import TransferError
from migration_tools.kernel import points
from migration_tools.kernel.records import accepted, departures, newest
from migration_tools.messaging.batch import RelationHead, RowRecord
from migration_tools.stores.postgres import Connection, describe_failure, errors, sql
from migration_tools.stores.postgres.arrays import array_type, execute_with_arrays
from migration_tools.stores.postgres.catalog import ForeignKey, Table, read_table
from migration_tools.stores.postgres.pipelines import counted
from migration_tools.transfer.standing import Standing, read_standing
from migration_tools.transfer.waiting import let_wait, may_wait, open_references

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
        self._waiting: set[str] = set()
        self._taken_out = False

    def apply(
        self, conn: Connection, stream: str, relations: dict[int, RelationHead], rows: Sequence[RowRecord]
    ) -> int:
        """Write the rows; call inside a transaction. Returns how many records counted."""
        if not rows:
            return 0
        standing = read_standing(conn, stream)
        wanted = _permitted(standing, stream, relations)
        self._awaiting = standing.uncopied
        self._waiting = standing.waiting
        self._taken_out = False
        whole, patches = newest(relations, (row for row in rows if row.relation in wanted))
        mark_applying(conn, "row", stream)
        tables = sorted(whole, key=lambda name: min(h.rank for h in relations.values() if h.table == name))
        for table in tables:
            self._upsert_all(conn, relations, list(whole[table].values()))
        points.reached("sync.rows_upserted")
        for table in reversed(tables):
            gone = [row for row in whole[table].values() if row.kind == "g"]
            if gone:
                self._delete(conn, relations[gone[0].relation], gone)
        self._let_wait(conn, stream, whole)
        if patches:
            mark_applying(conn, "patch", stream)
        for part in _by_relation(patches):
            self._patch(conn, relations[part[0].relation], part)
        mark_applying(conn, "")
        return len(rows)

    def _shape(self, conn: Connection, table: str) -> Table:
        if table not in self._shapes:
            shape = read_table(conn, table)
            if shape is None:
                raise TransferError(f"table {table!r} is not in this database; run the schema migrations")
            self._shapes[table] = shape
        return self._shapes[table]

    def _let_wait(self, conn: Connection, stream: str, whole: Mapping[str, Mapping[Hashable, RowRecord]]) -> None:
        """See Note [waiting references]: of the rows written, and of all that refer to one that was taken out again."""
        if self._taken_out:
            take_out_orphans(conn, [self._shape(conn, table) for table in self._awaiting])
        tables = {*whole, *self._awaiting} if self._taken_out else {*whole}
        for table in tables:
            shape = self._shape(conn, table)
            references = open_references(shape, self._awaiting, self._waiting)
            if references:
                keys = [row.key for row in whole.get(table, {}).values() if row.kind == "r"]
                let_wait(conn, stream, shape, references, sql.SQL("true") if self._taken_out else _among(shape, keys))

    def _upsert_all(self, conn: Connection, relations: dict[int, RelationHead], rows: list[RowRecord]) -> None:
        """Upsert a table's rows; those that ended go first only if one of them, or a swap, still holds a unique value.

        References are deferred to the commit, so nothing minds that a row is away for a moment.
        """
        changed = _by_relation([row for row in rows if row.kind == "r"])
        gone = _by_relation([row for row in rows if row.kind == "g"])
        attempts = list(departures(gone, changed))
        if not self._may_clash(conn, relations, changed):
            try:
                for part in changed:
                    self._upsert(conn, relations[part[0].relation], part)
            except errors.UniqueViolation:
                # An index made meanwhile; the batch comes again, and the catalogue is read again.
                self._shapes.clear()
                raise
            return
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

    def _may_clash(self, conn: Connection, relations: dict[int, RelationHead], parts: list[list[RowRecord]]) -> bool:
        """Whether a row may hold a unique value that another one needs: not if the key is all that is unique."""
        heads = [relations[part[0].relation] for part in parts]
        shapes = [self._shape(conn, head.table) for head in heads]
        return any(not s.key_alone or set(s.key) != set(h.key) for s, h in zip(shapes, heads, strict=True))

    def _upsert(self, conn: Connection, head: RelationHead, rows: list[RowRecord]) -> None:
        shape = self._shape(conn, head.table)
        early = head.table in self._awaiting and bool(_required(shape))
        statement = self._statements.get((head, early))
        if statement is None:
            statement = upsert_statement(shape, head, only_with_parents=early).as_bytes(conn)
            self._statements[(head, early)] = statement
        types = [shape.columns[name].type for name in head.columns]
        for start in range(0, len(rows), ROWS_PER_STATEMENT):
            part = rows[start : start + ROWS_PER_STATEMENT]
            columns = list(zip(*(row.values or () for row in part), strict=True))
            with _fits(head.table):
                if early:
                    taken = execute_with_arrays(conn, early_children_statement(shape, head), columns, types)
                    self._taken_out |= counted(taken) > 0
                execute_with_arrays(conn, statement, columns, types)

    def _delete(self, conn: Connection, head: RelationHead, rows: list[RowRecord]) -> None:
        delete_by_key(conn, self._shape(conn, head.table), head.key, [row.key for row in rows])

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


def _permitted(standing: Standing, stream: str, relations: Mapping[int, RelationHead]) -> set[int]:
    """Relations whose rows may be written here: of fenced tables, and owned ones only while the other side owns."""
    for head in relations.values():
        if head.table not in standing.fenced:
            raise TransferError(
                f"stream {stream!r} carries rows of {head.table!r}, which no batch may write here; if the playbook has "
                "changed, run strangle_dual_write again, it installs what is missing; if not, see who serves the feed"
            )
    return accepted(relations, owns=standing.owner is not None and standing.owner.may_write)


def upsert_statement(shape: Table, head: RelationHead, *, only_with_parents: bool = False) -> sql.Composed:
    """INSERT … SELECT from one array per column … ON CONFLICT DO UPDATE, only where something differs.

    Note [early children]. While a table's history is not copied, an old row's children may change before the row itself
    is here. With `only_with_parents` such children are left out: parents are copied first and whole, so the chunk that
    copies the child later brings it, as of a later tick. What an earlier event put here of such a child is taken out
    (early_children_statement): it refers to a former parent, whose end it would forbid.
    """
    parents = sql.SQL(" WHERE {}").format(_parents_exist(shape)) if only_with_parents else sql.SQL("")
    return upsert_from(shape, head.columns, head.key, rows_given(shape, head.columns) + parents)


def rows_given(shape: Table, columns: Sequence[str]) -> sql.Composed:
    """The rows, alias u, that execute_with_arrays is given by columns, each value as the table's type.

    Unnested in a SELECT list, values go on one by one; in FROM PostgreSQL would first store each column's.
    """
    casts = sql.SQL(", ").join(
        sql.SQL("u.{}::{}").format(sql.Identifier(name), sql.SQL(shape.columns[name].base)) for name in columns
    )
    values = sql.SQL(", ").join(
        sql.SQL("unnest(%s::{}) AS {}").format(array_type(shape.columns[name].type), sql.Identifier(name))
        for name in columns
    )
    return sql.SQL("SELECT {} FROM (SELECT {}) u").format(casts, values)


def delete_by_key(conn: Connection, shape: Table, key: Sequence[str], keys: Sequence[tuple[str, ...]]) -> None:
    """DELETE the rows with these very keys, whose columns are `key`; see Note [equal but not the same]."""
    match, arrays = _key_match(shape, key)
    execute_with_arrays(
        conn,
        sql.SQL("DELETE FROM {} t USING {} WHERE {}").format(sql.Identifier(shape.name), arrays, match),
        list(zip(*keys, strict=True)),
        [shape.columns[name].type for name in key],
    )


def upsert_from(shape: Table, columns: Sequence[str], key: Sequence[str], rows: sql.Composable) -> sql.Composed:
    """INSERT of the query's rows into the table, identity columns included; on conflict update what differs.

    Note [equal but not the same]. Under a nondeterministic collation, and for citext, interval, -0 or 1.0, a value may
    change into one that equals it. So such columns are compared by their text, such a key is written too where it
    conflicts, and a row is deleted only by the very key it has (_key_match): not when its key became an equal one.
    """
    free = [name for name in columns if name not in key and not shape.columns[name].always]
    free += [name for name in key if not shape.columns[name].exact]
    # The first column that differs decides, so those that are cheap to compare come first.
    compared = sorted(free, key=lambda name: not shape.columns[name].exact)
    action: sql.Composable = sql.SQL("DO NOTHING")
    if free:
        action = sql.SQL("DO UPDATE SET {} WHERE ({}) IS DISTINCT FROM ({})").format(
            sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name)) for name in free),
            sql.SQL(", ").join(_exact(shape, name, "t") for name in compared),
            sql.SQL(", ").join(_exact(shape, name, "EXCLUDED") for name in compared),
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


def take_out_orphans(conn: Connection, shapes: Sequence[Table]) -> None:
    """DELETE rows whose parent was taken out with its own one, down to the last; see Note [early children]."""
    taken = 1
    while taken:
        taken = 0
        for shape in shapes:
            if _required(shape):
                orphans = sql.SQL("DELETE FROM {} u WHERE NOT ({})")
                taken += counted(conn.execute(orphans.format(sql.Identifier(shape.name), _parents_exist(shape))))


def _required(shape: Table) -> list[ForeignKey]:
    """References that cannot wait."""
    return [reference for reference in shape.references if not may_wait(shape, reference)]


def _parents_exist(shape: Table) -> sql.Composed:
    """Every reference of the row (alias u) that must have a value finds its row; others can wait."""
    checks: list[sql.Composable] = [sql.SQL("true")]
    for reference in _required(shape):
        match = sql.SQL(" AND ").join(
            sql.SQL("p.{} = u.{}::{}").format(
                sql.Identifier(theirs),
                sql.Identifier(ours),
                sql.SQL(shape.columns[ours].base),
            )
            for ours, theirs in zip(reference.columns, reference.target_columns, strict=True)
        )
        checks.append(sql.SQL("EXISTS (SELECT FROM {} p WHERE {})").format(sql.Identifier(reference.target), match))
    return sql.SQL(" AND ").join(checks)


def _arrays(shape: Table, names: Sequence[str]) -> sql.Composed:
    """A parameter per column, typed as execute_with_arrays sends it."""
    return sql.SQL(", ").join(sql.SQL("%s::{}").format(array_type(shape.columns[name].type)) for name in names)


def _among(shape: Table, keys: Sequence[tuple[str, ...]]) -> sql.Composed:
    """The condition that a row, alias t, has one of these keys."""
    arrays = sql.SQL(", ").join(
        sql.SQL("{}::text[]::{}[]").format(sql.Literal([k[i] for k in keys]), sql.SQL(shape.columns[name].base))
        for i, name in enumerate(shape.key)
    )
    names = sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(name)) for name in shape.key)
    return sql.SQL("({}) IN (SELECT * FROM unnest({}))").format(names, arrays)


@contextmanager
def _fits(table: str) -> Iterator[None]:
    """Say what to do with a value that the receiving table cannot hold; nothing is cut, the stream waits."""
    try:
        yield
    except (errors.DataError, errors.CheckViolation, errors.NotNullViolation) as error:
        raise TransferError(
            f"a row for {table!r} does not fit: {describe_failure(error)}; widen the column or "
            "the constraint in this database, or change the row where it is owned. Until then its stream waits"
        ) from error


def _by_relation(rows: list[RowRecord]) -> list[list[RowRecord]]:
    """Group rows by relation, since two declarations of one projection may order values differently."""
    if len({row.relation for row in rows}) == 1:
        return [rows]
    groups: dict[int, list[RowRecord]] = {}
    for row in rows:
        groups.setdefault(row.relation, []).append(row)
    return list(groups.values())


def _key_match(shape: Table, key: Sequence[str]) -> tuple[sql.Composed, sql.Composed]:
    """(condition joining t and u on the very same key, unnest of one array per key column AS u)."""
    names = sql.SQL(", ").join(sql.Identifier(name) for name in key)
    arrays = _arrays(shape, key)
    match = []
    for name in key:
        values = {"name": sql.Identifier(name), "type": sql.SQL(shape.columns[name].base)}
        match.append(sql.SQL("t.{name} = u.{name}::{type}").format(**values))
        if not shape.columns[name].exact:
            same = 't.{name}::text COLLATE "C" = u.{name}::{type}::text COLLATE "C"'
            match.append(sql.SQL(same).format(**values))
    return sql.SQL(" AND ").join(match), sql.SQL("unnest({}) AS u({})").format(arrays, names)
