"""The statements of a ClickHouse replica: ReplacingMergeTree by version, and digests computed where the rows are."""

from collections.abc import Sequence

from migration_tools.stores.canonical import Kind, decimal_size
from migration_tools.stores.clickhouse.tsv import kind_held
from migration_tools.stores.ports import Column, Shape

VERSION, DELETED = "_version", "_deleted"
PROGRESS = "strangle_replica"

_TYPES = {
    Kind.INTEGER: "Int64",
    Kind.BOOLEAN: "Bool",
    Kind.SINGLE: "Float32",
    Kind.DOUBLE: "Float64",
    Kind.MOMENT: "DateTime64(6, 'UTC')",
    Kind.TIMESTAMP: "DateTime64(6, 'UTC')",
    Kind.DATE: "Date32",
    Kind.UUID: "UUID",
    Kind.BYTES: "String",
    Kind.TEXT: "String",
}


def quote(name: str) -> str:
    """An identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(text: str) -> str:
    """A string, for the few places that take no parameter."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def type_of(column: Column) -> str:
    """The type of a column that is never NULL."""
    kind = kind_held(column)
    if kind is Kind.DECIMAL:
        precision, scale = decimal_size(column.type) or (0, 0)
        return f"Decimal({precision}, {scale})"
    return _TYPES[kind]


def columns_of(shape: Shape) -> dict[str, str]:
    """Every column of the replica's table with its type."""
    found = {
        column.name: type_of(column) if column.name in shape.key else f"Nullable({type_of(column)})"
        for column in shape.columns
    }
    return found | {VERSION: "UInt64", DELETED: "UInt8"}


def create(table: str, shape: Shape) -> str:
    """The replica's table. Without CLEANUP a merge keeps the newest tombstone, so an old version stays refused."""
    columns = ", ".join(f"{quote(name)} {type_name}" for name, type_name in columns_of(shape).items())
    key = ", ".join(quote(name) for name in shape.key)
    return (
        f"CREATE TABLE IF NOT EXISTS {table} ({columns})"
        f" ENGINE = ReplacingMergeTree({VERSION}, {DELETED}) ORDER BY ({key})"
    )


def create_progress(table: str) -> str:
    """The table of positions; the newest entry counts."""
    return (
        f"CREATE TABLE IF NOT EXISTS {table} (name String, at DateTime64(9, 'UTC'), progress String)"
        " ENGINE = ReplacingMergeTree(at) ORDER BY name"
    )


def canonical_text(column: Column) -> str:
    """A column's canonical text, the same as stores.canonical makes; NULL stays NULL."""
    name = quote(column.name)
    kind = kind_held(column)
    trimmed = f"replaceRegexpOne(toString({name}), '\\\\.?0+$', '')"
    if kind is Kind.DECIMAL:
        return f"toDecimalString({name}, {(decimal_size(column.type) or (0, 0))[1]})"
    if kind in {Kind.SINGLE, Kind.DOUBLE}:
        return f"if(isNaN({name}), 'nan', lower(hex(reverse(reinterpretAsFixedString({name})))))"
    if kind is Kind.MOMENT:
        return f"concat({trimmed}, '+00')"
    if kind is Kind.TIMESTAMP:
        return trimmed
    if kind is Kind.BYTES:
        return f"concat('\\\\x', lower(hex({name})))"
    return f"toString({name})"


def living(table: str) -> str:
    """The newest version of every key that is not deleted."""
    return f"(SELECT * FROM {table} FINAL WHERE {DELETED} = 0)"  # noqa: S608  (identifiers are quoted)


def hashed(table: str, shape: Shape, buckets: int) -> str:
    """k0…, bucket, h1 and h2 of each living row."""
    names = [column.name for column in shape.columns]
    texts = ", ".join(f"{canonical_text(column)} AS v{place}" for place, column in enumerate(shape.columns))
    keys = [f"v{names.index(name)}" for name in shape.key]
    whole = _row_text([f"v{place}" for place in range(len(names))])
    inner = (
        f"SELECT {', '.join(f'{key} AS k{place}' for place, key in enumerate(keys))}, SHA256({whole}) AS s,"  # noqa: S608
        f" SHA256({_row_text(keys)}) AS b FROM (SELECT {texts} FROM {living(table)})"
    )
    key_names = ", ".join(f"k{place}" for place in range(len(keys)))
    return (
        f"SELECT {key_names}, bitAnd(reinterpretAsUInt16(reverse(substring(b, 1, 2))), {buckets - 1}) AS bucket,"  # noqa: S608
        " reinterpretAsInt64(reverse(substring(s, 1, 8))) AS h1,"
        f" reinterpretAsInt64(reverse(substring(s, 9, 8))) AS h2 FROM ({inner})"
    )


def digest(table: str, shape: Shape, buckets: int) -> str:
    """Count and exact sums per bucket."""
    return (
        "SELECT bucket, count(), toString(sum(toInt256(h1))), toString(sum(toInt256(h2)))"  # noqa: S608
        f" FROM ({hashed(table, shape, buckets)}) GROUP BY bucket"
    )


def scan(table: str, shape: Shape, buckets: int) -> str:
    """h1, h2 and the key of every row in the buckets of parameter `wanted`."""
    keys = ", ".join(f"k{place}" for place in range(len(shape.key)))
    return (
        f"SELECT h1, h2, {keys} FROM ({hashed(table, shape, buckets)})"  # noqa: S608
        " WHERE bucket IN (SELECT * FROM format(TSV, 'bucket UInt16', {wanted:String}))"
    )


def read(table: str, shape: Shape) -> str:
    """Version and canonical values of the rows whose keys are in parameter `keys`, a block of key columns."""
    values = ", ".join(canonical_text(column) for column in shape.columns)
    structure = ", ".join(f"k{place} {type_of(column)}" for place, column in enumerate(shape.key_columns))
    key = ", ".join(quote(name) for name in shape.key)
    return (
        f"SELECT {VERSION}, {values} FROM {living(table)} WHERE ({key})"  # noqa: S608
        f" IN (SELECT * FROM format(TSV, {literal(structure)}, {{keys:String}}))"
    )


def _row_text(names: Sequence[str]) -> str:
    parts = (f"ifNull(concat(toString(lengthUTF8({name})), ':', {name}), '-')" for name in names)
    return f"concat({', '.join(parts)}, '')"
