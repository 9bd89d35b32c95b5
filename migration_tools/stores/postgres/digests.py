"""128-bit digests of rows by key bucket, computed where the rows are; equal across servers and versions.

Note [row digests]. A row's hash is hash_record_extended over its values as Note [values in digests] lets them enter: a
swap of two columns and NULL against '' change it (a sum of column hashes and concat_ws miss them). The digest of a
bucket is the sum of its rows' hashes and the sum of the same hashes mixed once more, 128 bits: sums see a row that
stands twice or three times (XOR does not), and rows that cancel out in one do not in the other. Callers draw the seed
for each comparison, so rows that happen to collide once do not the next time, and nobody can prepare some that do.

Note [key buckets]. Buckets of an integer key are ranges of it, so rows of differing buckets are found by index, and a
hundred differing rows cost next to nothing; other keys are bucketed by hash and take a second scan.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from migration_tools.stores.postgres.connection import Connection, sql
from migration_tools.stores.postgres.exact_values import exact_values

KEY_SEED = 11

_INTEGERS = ("bigint", "integer", "smallint")

_LEAST, _GREATEST = -(2**63), 2**63 - 1

# Of a bucket that differs every row is hashed again, and each bucket is a row of the answer.
ROWS_A_BUCKET = 128
FEWEST_BUCKETS, MOST_BUCKETS = 64, 65_536
FETCH_ROWS = 2_000

# Above this share of differing buckets one scan is cheaper than their ranges one by one.
SHARE_READ_BY_INDEX = 1 / 8

Digests = dict[int, tuple[int, int, int]]


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """`count` buckets (a power of two) of a key: by hash, or where `width` is set ranges of its first column.

    The first range has no lower bound and the last no upper one.
    """

    count: int
    lowest: int = 0
    width: int = 0

    def number(self, key: Sequence[str], types: Sequence[str], encoding: str) -> sql.Composed:
        """The bucket of row r."""
        if not self.width:
            return sql.SQL("{} & {}").format(_hash(key, types, encoding, KEY_SEED), sql.Literal(self.count - 1))
        return sql.SQL("(LEAST(GREATEST({}::bigint, {}), {}) - {}) / {}").format(
            sql.Identifier("r", key[0]),
            sql.Literal(self.lowest),
            sql.Literal(self.lowest + self.count * self.width - 1),
            sql.Literal(self.lowest),
            sql.Literal(self.width),
        )

    def ranges(self, wanted: Sequence[int]) -> list[tuple[int | None, int | None]]:
        """First and last value of each run of neighbouring buckets; None is open."""
        runs: list[list[int]] = []
        for bucket in sorted(wanted):
            if runs and bucket == runs[-1][1] + 1:
                runs[-1][1] = bucket
            else:
                runs.append([bucket, bucket])
        return [
            (
                self.lowest + first * self.width if first > 0 else None,
                self.lowest + (last + 1) * self.width - 1 if last < self.count - 1 else None,
            )
            for first, last in runs
        ]


def choose_buckets(conn: Connection, table: str, key: Sequence[str], leading: Sequence[str], rows: int) -> Buckets:
    """About a hundred of the table's `rows` rows a bucket; ranges where the key's first column is an integer.

    `leading` are that column's types, on both sides.
    """
    count = 1 << max((rows // ROWS_A_BUCKET).bit_length(), 1)
    count = min(max(count, FEWEST_BUCKETS), MOST_BUCKETS)
    if any(each not in _INTEGERS for each in leading):
        return Buckets(count=count)
    ends = conn.execute(
        sql.SQL("SELECT min({0}), max({0}) FROM {1}").format(sql.Identifier(key[0]), sql.Identifier(table))
    ).fetchone()
    if ends is None or ends[0] is None or ends[1] >= 2**62 or ends[0] <= -(2**62):
        return Buckets(count=count)
    return Buckets(count=count, lowest=int(ends[0]), width=(int(ends[1]) - int(ends[0])) // count + 1)


def bucket_digests(
    conn: Connection,
    rows: sql.Composable,
    key: Sequence[str],
    columns: Sequence[str],
    types: Sequence[str],
    buckets: int | Buckets,
    *,
    seed: int = 0,
) -> Digests:
    """(count, sum, sum) per bucket of the rows of `rows` (a FROM item with alias r); a number of buckets is a power
    of two, and both sides of a comparison take the same seed."""
    statement = sql.SQL(
        "SELECT bucket, count(*), sum(hash)::text, sum(hashint8extended(hash, hash))::text FROM {} GROUP BY 1"
    )
    hashed = _hashed(conn, rows, key, columns, types, buckets, seed)
    return {int(row[0]): (int(row[1]), int(row[2]), int(row[3])) for row in conn.execute(statement.format(hashed))}


def row_hashes(
    conn: Connection,
    rows: sql.Composable,
    key: Sequence[str],
    columns: Sequence[str],
    types: Sequence[str],
    buckets: int | Buckets,
    wanted: Sequence[int],
    *,
    leading: str | None = None,
    seed: int = 0,
) -> Iterator[tuple[tuple[str, ...], int]]:
    """(key as text, hash) of every row in the wanted buckets, streamed.

    `leading` names the column of `rows` by whose index ranges of the key can be read; it must equal the first of `key`.
    """
    numbers = sql.SQL("d.bucket = ANY ({}::bigint[])").format(sql.Literal(sorted(wanted)))
    source = rows
    if leading and isinstance(buckets, Buckets) and buckets.width and _few(wanted, buckets):
        source = _by_ranges(rows, leading, buckets.ranges(wanted))
    texts = sql.SQL(", ").join(sql.SQL("d.k{}").format(sql.SQL(str(i))) for i in range(len(key)))
    statement = sql.SQL("SELECT hash, {} FROM {} WHERE {}").format(
        texts, _hashed(conn, source, key, columns, types, buckets, seed, with_keys=True), numbers
    )
    with conn.cursor() as cursor:
        for row in cursor.stream(statement, size=FETCH_ROWS):
            yield tuple(row[1:]), int(row[0])


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


def _hash(columns: Sequence[str], types: Sequence[str], encoding: str, seed: int) -> sql.Composed:
    """The hash of these columns of row r, 64 bits."""
    named = [(sql.Identifier("r", name), each) for name, each in zip(columns, types, strict=True)]
    values = exact_values(named, encoding=encoding)
    return sql.SQL("hash_record_extended(ROW({}), {})").format(sql.SQL(", ").join(values), sql.Literal(seed))


def _hashed(
    conn: Connection,
    rows: sql.Composable,
    key: Sequence[str],
    columns: Sequence[str],
    types: Sequence[str],
    buckets: int | Buckets,
    seed: int,
    *,
    with_keys: bool = False,
) -> sql.Composed:
    """The rows as (bucket, hash) and the key's texts as k0…, as a FROM item d.

    OFFSET 0 keeps PostgreSQL from hashing a row once a sum, and from taking the buckets for as many groups as there are
    rows, for which it would sort them all.
    """
    encoding = conn.info.parameter_status("server_encoding") or "UTF8"
    by_name = dict(zip(columns, types, strict=True))
    chosen = Buckets(count=buckets) if isinstance(buckets, int) else buckets
    texts = [
        sql.SQL(", {}::text AS k{}").format(sql.Identifier("r", name), sql.SQL(str(i))) for i, name in enumerate(key)
    ]
    return sql.SQL("(SELECT {} AS bucket, {} AS hash{} FROM {} OFFSET 0) d").format(
        chosen.number(key, [by_name[name] for name in key], encoding),
        _hash(columns, types, encoding, seed),
        sql.Composed(texts if with_keys else []),
        rows,
    )


def _few(wanted: Sequence[int], buckets: Buckets) -> bool:
    return len(wanted) <= buckets.count * SHARE_READ_BY_INDEX


def _by_ranges(rows: sql.Composable, leading: str, ranges: Sequence[tuple[int | None, int | None]]) -> sql.Composed:
    """The rows whose leading column is in one of these ranges, each read by index."""
    firsts = [_LEAST if first is None else first for first, _ in ranges]
    lasts = [_GREATEST if last is None else last for _, last in ranges]
    return sql.SQL(
        "unnest({}::bigint[], {}::bigint[]) AS w(first, last) "
        "CROSS JOIN LATERAL (SELECT * FROM {} WHERE {} BETWEEN w.first AND w.last) r"
    ).format(sql.Literal(firsts), sql.Literal(lasts), rows, sql.Identifier("r", leading))
