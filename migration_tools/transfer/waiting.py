"""References that wait: left NULL while the row they point to is not copied yet, and put in when it is.

Note [waiting references]. A tree in one table, or tables that refer to each other in a circle, cannot be copied parents
first. While a table is not copied whole, a reference of it, or to it, that may be NULL and finds no row is set to NULL,
and what it wants is kept here, in the same transaction. Every write of the row by chunk or sync decides anew, so what
is kept is always the reference of the row's newest state; a row that is deleted takes its entry along. When everything
is copied the target stands at a tick at which all rows are there, so each entry finds its row: they are put in in
portions, each at an exact stop. A kill -9 in between leaves entries, and the copy's next run goes on with them.
"""

from collections.abc import Collection, Sequence

from migration_tools.capture.applying import mark_applying
from migration_tools.stores.postgres import Connection, sql, transaction
from migration_tools.stores.postgres.catalog import ForeignKey, Table, read_table

PORTION = 5_000


def may_wait(shape: Table, reference: ForeignKey) -> bool:
    """Whether the reference can be NULL for a while."""
    return any(not shape.columns[name].required for name in reference.columns)


def open_references(shape: Table, uncopied: Collection[str], waiting: Collection[str]) -> list[ForeignKey]:
    """References of the table that can wait and may have to, or did so and whose entries must follow each write."""
    return [r for r in shape.references if may_wait(shape, r) and (r.target in uncopied or shape.name in waiting)]


def let_wait(
    conn: Connection, stream: str, shape: Table, references: Sequence[ForeignKey], rows: sql.Composable
) -> None:
    """Set to NULL, and keep, the references of just written rows that find none; call inside their transaction.

    `rows` is a condition on the table, alias t, that holds for what was written. Each row's entry is made anew.
    """
    key = _texts("t", shape.key)
    for reference in references:
        forget = sql.SQL(
            """DELETE FROM strangle_waiting_reference WHERE stream = {stream} AND table_name = {name}
               AND reference = {reference} AND key IN (SELECT {key} FROM {table} t WHERE {rows})"""
        )
        wait = sql.SQL(
            """WITH dangling AS (
                 UPDATE {table} t SET {nulls}
                 FROM (SELECT t.* FROM {table} t WHERE {rows} AND {filled} AND NOT {found}) o
                 WHERE {same} RETURNING {key} AS key, {wanted} AS wanted)
               INSERT INTO strangle_waiting_reference (stream, table_name, reference, key, wanted)
               SELECT {stream}, {name}, {reference}, key, wanted FROM dangling"""
        )
        values = {
            "table": sql.Identifier(shape.name),
            "stream": sql.Literal(stream),
            "name": sql.Literal(shape.name),
            "reference": sql.Literal(reference.name),
            "key": key,
            "rows": rows,
            "nulls": sql.SQL(", ").join(
                sql.SQL("{} = NULL").format(sql.Identifier(name))
                for name in reference.columns
                if not shape.columns[name].required
            ),
            "filled": sql.SQL(" AND ").join(
                sql.SQL("t.{} IS NOT NULL").format(sql.Identifier(name)) for name in reference.columns
            ),
            "found": _found(reference),
            "same": sql.SQL(" AND ").join(sql.SQL("t.{0} = o.{0}").format(sql.Identifier(name)) for name in shape.key),
            "wanted": _texts("o", reference.columns),
        }
        conn.execute(forget.format(**values))
        conn.execute(wait.format(**values))


def waiting_tables(conn: Connection, stream: str) -> set[str]:
    """Tables of which references wait."""
    rows = conn.execute("SELECT DISTINCT table_name FROM strangle_waiting_reference WHERE stream = %s", [stream])
    return {str(row[0]) for row in rows}


def put_in(conn: Connection, stream: str) -> int:
    """Put in one portion of the references that wait and whose rows are there; returns how many. Opens a transaction.

    Call at an exact stop, when everything is copied.
    """
    done = 0
    with transaction(conn):
        mark_applying(conn, "row")
        for table in sorted(waiting_tables(conn, stream)):
            shape = read_table(conn, table)
            assert shape is not None  # noqa: S101  (its rows were written)
            for reference in shape.references:
                if done < PORTION:
                    done += _put_in(conn, stream, shape, reference)
    return done


def _put_in(conn: Connection, stream: str, shape: Table, reference: ForeignKey) -> int:
    columns = [name for name in reference.columns if not shape.columns[name].required]
    sets = sql.SQL(", ").join(
        sql.SQL("{} = w.wanted[{}]::{}").format(
            sql.Identifier(name),
            sql.Literal(reference.columns.index(name) + 1),
            sql.SQL(shape.columns[name].base),
        )
        for name in columns
    )
    same = sql.SQL(" AND ").join(
        sql.SQL("t.{} = w.key[{}]::{}").format(
            sql.Identifier(name), sql.Literal(place), sql.SQL(shape.columns[name].base)
        )
        for place, name in enumerate(shape.key, 1)
    )
    statement = sql.SQL(
        """WITH w AS (DELETE FROM strangle_waiting_reference WHERE id IN
                        (SELECT id FROM strangle_waiting_reference WHERE stream = {stream} AND table_name = {name}
                           AND reference = {reference} ORDER BY id LIMIT {portion})
                      RETURNING key, wanted)
           UPDATE {table} t SET {sets} FROM w WHERE {same}"""
    ).format(
        stream=sql.Literal(stream),
        name=sql.Literal(shape.name),
        reference=sql.Literal(reference.name),
        portion=sql.Literal(PORTION),
        table=sql.Identifier(shape.name),
        sets=sets,
        same=same,
    )
    return conn.execute(statement).rowcount


def _texts(row: str, names: Sequence[str]) -> sql.Composed:
    each = sql.SQL(", ").join(sql.SQL("{}.{}::text").format(sql.SQL(row), sql.Identifier(name)) for name in names)
    return sql.SQL("ARRAY[{}]").format(each)


def _found(reference: ForeignKey) -> sql.Composed:
    match = sql.SQL(" AND ").join(
        sql.SQL("p.{} = t.{}").format(sql.Identifier(theirs), sql.Identifier(ours))
        for ours, theirs in zip(reference.columns, reference.target_columns, strict=True)
    )
    return sql.SQL("EXISTS (SELECT FROM {} p WHERE {})").format(sql.Identifier(reference.target), match)
