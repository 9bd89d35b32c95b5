"""128-bit digests of rows by key bucket, computed where the rows are; equal across servers and versions.
 Note [row digests]. A row's digest is hash_record_extended over the whole record under two seeds, summed by bucket: a
swap of two columns, a row that stands twice and NULL against '' all change it (a sum of column hashes, XOR and
concat_ws miss them). How each type enters the record: Note [values in digests].
"""

from collections.abc import Iterator, Sequence

from migration_tools.stores.postgres.connection import Connection, sql
from migration_tools.stores.postgres.exact_values import exact_value

FIRST_SEED, SECOND_SEED, KEY_SEED = 0, 7_046_029_254_386_353_087, 11
Digests = dict[int, tuple[int, int, int]]


def _record(columns: Sequence[str], types: Sequence[str]) -> sql.Composed:
    parts = [
        exact_value(sql.SQL("r.{}").format(sql.Identifier(name)), type_name)
        for name, type_name in zip(columns, types, strict=True)
    ]
    return sql.SQL("ROW({})").format(sql.SQL(", ").join(parts))


def _hashes(key: Sequence[str], columns: Sequence[str], types: Sequence[str], buckets: int) -> sql.Composed:
    by_name = dict(zip(columns, types, strict=True))
    return sql.SQL(
        "hash_record_extended({}, {}) & {} AS bucket, hash_record_extended({}, {}) AS h1, "
        "hash_record_extended({}, {}) AS h2"
    ).format(
        _record(key, [by_name[name] for name in key]),
        sql.Literal(KEY_SEED),
        sql.Literal(buckets - 1),
        _record(columns, types),
        sql.Literal(FIRST_SEED),
        _record(columns, types),
        sql.Literal(SECOND_SEED),
    )


def bucket_digests(
    conn: Connection,
    rows: sql.Composable,
    key: Sequence[str],
    columns: Sequence[str],
    types: Sequence[str],
    buckets: int,
) -> Digests:
    """(count, sum, sum) per bucket of the rows of `rows` (a FROM item with alias r); `buckets` is a power of two."""
    statement = sql.SQL("SELECT bucket, count(*), sum(h1), sum(h2) FROM (SELECT {} FROM {}) d GROUP BY bucket").format(
        _hashes(key, columns, types, buckets), rows
    )
    return {int(row[0]): (int(row[1]), int(row[2]), int(row[3])) for row in conn.execute(statement)}


def row_digests(
    conn: Connection,
    rows: sql.Composable,
    key: Sequence[str],
    columns: Sequence[str],
    types: Sequence[str],
    buckets: int,
    wanted: Sequence[int],
) -> Iterator[tuple[tuple[str, ...], tuple[int, int]]]:
    """(key as text, both hashes) of every row in the wanted buckets."""
    statement = sql.SQL(
        "SELECT h1, h2, {names} FROM (SELECT {keys}, {hashes} FROM {rows}) d WHERE bucket = ANY ({wanted}::int8[])"
    ).format(
        names=sql.SQL(", ").join(sql.SQL("d.k{}").format(sql.SQL(str(i))) for i in range(len(key))),
        keys=sql.SQL(", ").join(
            sql.SQL("r.{}::text AS k{}").format(sql.Identifier(name), sql.SQL(str(i))) for i, name in enumerate(key)
        ),
        hashes=_hashes(key, columns, types, buckets),
        rows=rows,
        wanted=sql.Literal(list(wanted)),
    )
    with conn.cursor() as cursor:
        for row in cursor.stream(statement, size=2000):
            yield tuple(row[2:]), (int(row[0]), int(row[1]))


def rows_by_key(
    conn: Connection,
    rows: sql.Composable,
    key: Sequence[str],
    columns: Sequence[str],
    types: Sequence[str],
    wanted: Sequence[tuple[str, ...]],
) -> dict[tuple[str, ...], tuple[str | None, ...]]:
    """The rows with these keys, each value as PostgreSQL's text; keys looked up by equality."""
    by_name = dict(zip(columns, types, strict=True))
    texts = sql.SQL(", ").join(sql.SQL("r.{}::text").format(sql.Identifier(name)) for name in columns)
    # Literals instead of parameters: `rows` may hold a percent sign.
    arrays = sql.SQL(", ").join(
        sql.SQL("{}::text[]::{}[]").format(sql.Literal([each[i] for each in wanted]), sql.SQL(by_name[name]))
        for i, name in enumerate(key)
    )
    names = sql.SQL(", ").join(sql.SQL("r.{}").format(sql.Identifier(name)) for name in key)
    if len(key) == 1:
        where = sql.SQL("{} = ANY ({})").format(names, arrays)
    else:
        where = sql.SQL("({}) IN (SELECT * FROM unnest({}))").format(names, arrays)
    keys = sql.SQL(", ").join(sql.SQL("r.{}::text").format(sql.Identifier(name)) for name in key)
    statement = sql.SQL("SELECT {}, {} FROM {} WHERE {}").format(keys, texts, rows, where)
    width = len(key)
    return {tuple(row[:width]): tuple(row[width:]) for row in conn.execute(statement)}
