"""Which tables of a receiving database are not copied whole yet."""

from typing import Final, LiteralString

from migration_tools.stores.postgres import Connection

UNCOPIED: Final[LiteralString] = """SELECT t.table_name FROM strangle_captured_table t
           JOIN strangle_ownership o ON o.context = t.stream
           LEFT JOIN strangle_copied_range c ON c.stream = t.stream
             AND (c.projection = t.table_name OR starts_with(c.projection, t.table_name || ' '))
           WHERE t.stream = %(stream)s AND t.fenced
             AND NOT COALESCE((SELECT relispartition FROM pg_class
                               WHERE oid = to_regclass(quote_ident(t.table_name))), false)
           GROUP BY t.table_name, o.side
           HAVING count(c) FILTER (WHERE c.done) < CASE WHEN count(c) = 0 THEN (o.side <> 'source')::int
             ELSE max(COALESCE(NULLIF(split_part(c.projection, '/', 2), '')::int, 1)) END"""


def uncopied_tables(conn: Connection, stream: str) -> set[str]:
    """Tables whose history is not copied yet: a child there may come before its parent, see Note [early children].

    Partitions are not listed beside their table. Of a table that several projections go into each must be copied; their
    names end in ' 1/2', ' 2/2'.
    """
    rows = conn.execute(UNCOPIED, {"stream": stream})
    return {str(row[0]) for row in rows}
