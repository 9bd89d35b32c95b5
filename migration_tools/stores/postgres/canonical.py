"""Canonical rows and their digests in PostgreSQL: the reference that every other engine is compared with.

See Note [canonical rows].
"""

from collections.abc import Collection, Iterator, Sequence

from migration_tools.stores.canonical import Digests, Kind, RowHash
from migration_tools.stores.ports import Column, Key, Shape, Values
from migration_tools.stores.postgres.connection import Connection, sql

FETCH_ROWS = 2_000


def type_names(conn: Connection, query: sql.Composable) -> dict[str, str]:
    """The columns of a query with their types, as format_type spells them."""
    cursor = conn.execute(sql.SQL("SELECT * FROM ({}) r LIMIT 0").format(query))
    result = cursor.pgresult
    assert result is not None  # noqa: S101  (a query always has one)
    places = range(result.nfields)
    names = [str((result.fname(place) or b"").decode()) for place in places]
    types = conn.execute(
        "SELECT format_type(t.oid, t.modifier) FROM unnest(%s::oid[], %s::int[]) WITH ORDINALITY AS t(oid, modifier, n)"
        " ORDER BY t.n",
        [[result.ftype(place) for place in places], [result.fmod(place) for place in places]],
    ).fetchall()
    return dict(zip(names, (row[0] for row in types), strict=True))


def canonical_text(column: Column) -> sql.Composed:
    """The canonical text of column `column` of `r`."""
    name = sql.SQL("r.{}").format(sql.Identifier(column.name))
    if column.kind in {Kind.SINGLE, Kind.DOUBLE}:
        send = sql.SQL("float4send" if column.kind is Kind.SINGLE else "float8send")
        return sql.SQL("CASE WHEN {0} = 'NaN' THEN 'nan' ELSE encode({1}({0}), 'hex') END").format(name, send)
    return sql.SQL("{}::text").format(name)


def digest(conn: Connection, rows: sql.Composable, shape: Shape, buckets: int) -> Digests:
    """Digests of the rows of `rows`, a FROM item with alias r; here and below every % in it is doubled."""
    statement = sql.SQL("SELECT bucket, count(*), sum(h1), sum(h2) FROM ({}) d GROUP BY bucket").format(
        _hashed(rows, shape, buckets)
    )
    return {int(row[0]): (int(row[1]), int(row[2]), int(row[3])) for row in conn.execute(statement, [])}


def scan(
    conn: Connection, rows: sql.Composable, shape: Shape, buckets: int, wanted: Collection[int]
) -> Iterator[tuple[Key, RowHash]]:
    """Key and hash of every row in the wanted buckets."""
    keys = sql.SQL(", ").join(sql.SQL(f"d.k{place}") for place in range(len(shape.key)))
    statement = sql.SQL("SELECT h1, h2, {} FROM ({}) d WHERE bucket = ANY (%s)").format(
        keys, _hashed(rows, shape, buckets)
    )
    with conn.cursor() as cursor:
        for row in cursor.stream(statement, [list(wanted)], size=FETCH_ROWS):
            yield tuple(row[2:]), (int(row[0]), int(row[1]))


def values_by_key(conn: Connection, rows: sql.Composable, shape: Shape, keys: Sequence[Key]) -> dict[Key, Values]:
    """The canonical values of the rows with these keys, looked up by equality."""
    columns = sql.SQL(", ").join(canonical_text(column) for column in shape.columns)
    found = conn.execute(
        sql.SQL("SELECT {} FROM {} WHERE {}").format(columns, rows, key_condition(shape)), key_arrays(shape, keys)
    )
    return {shape.key_of(tuple(row)): tuple(row) for row in found}


def key_condition(shape: Shape) -> sql.Composed:
    """A condition on the key columns of `r`, for one array a column as parameters."""
    names = [sql.SQL("r.{}").format(sql.Identifier(column.name)) for column in shape.key_columns]
    arrays = [sql.SQL("%s::text[]::{}[]").format(sql.SQL(column.type)) for column in shape.key_columns]
    if len(names) == 1:
        return sql.SQL("{} = ANY ({})").format(names[0], arrays[0])
    return sql.SQL("({}) IN (SELECT * FROM unnest({}))").format(sql.SQL(", ").join(names), sql.SQL(", ").join(arrays))


def key_arrays(shape: Shape, keys: Sequence[Key]) -> list[list[str]]:
    """Keys as one array a column."""
    return [[key[place] for key in keys] for place in range(len(shape.key))]


def _hashed(rows: sql.Composable, shape: Shape, buckets: int) -> sql.Composed:
    """k0…, bucket, h1 and h2 of each row."""
    names = [column.name for column in shape.columns]
    texts = sql.SQL(", ").join(
        sql.SQL("{} AS v{}").format(canonical_text(column), sql.SQL(str(place)))
        for place, column in enumerate(shape.columns)
    )
    whole = _row_text([f"v{place}" for place in range(len(names))])
    key = _row_text([f"v{names.index(name)}" for name in shape.key])
    keys = sql.SQL(", ").join(sql.SQL(f"c.v{names.index(name)} AS k{place}") for place, name in enumerate(shape.key))
    digests = sql.SQL(
        "SELECT {keys}, sha256(convert_to({whole}, 'UTF8')) AS s, sha256(convert_to({key}, 'UTF8')) AS b"
        " FROM (SELECT {texts} FROM {rows}) c OFFSET 0"
    ).format(keys=keys, whole=whole, key=key, texts=texts, rows=rows)
    names_out = sql.SQL(", ").join(sql.SQL(f"e.k{place}") for place in range(len(shape.key)))
    return sql.SQL(
        "SELECT {names}, ((get_byte(e.b, 0) << 8) | get_byte(e.b, 1)) & {mask} AS bucket,"
        " ('x' || encode(substr(e.s, 1, 8), 'hex'))::bit(64)::bigint AS h1,"
        " ('x' || encode(substr(e.s, 9, 8), 'hex'))::bit(64)::bigint AS h2 FROM ({digests}) e"
    ).format(names=names_out, mask=sql.Literal(buckets - 1), digests=digests)


def _row_text(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(" || ").join(
        sql.SQL("COALESCE(char_length({0}) || ':' || {0}, '-')").format(sql.SQL("c.") + sql.SQL(name)) for name in names
    )
