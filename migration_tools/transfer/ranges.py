"""Walk a relation by its key in chunks: bounds, order and conditions for any key."""

from dataclasses import dataclass

from migration_tools.capture.projector import InstalledRelation
from migration_tools.stores.postgres import Connection, sql
from migration_tools.stores.postgres.ordering import TEXT, order_of

Bound = tuple[str, ...]

_TEXTS = ("text", "character varying")


@dataclass(frozen=True, kw_only=True)
class KeyRange:
    """Keys with `after` < key <= `upto`; None is open. Bounds are PostgreSQL text."""

    after: Bound | None
    upto: Bound | None


def _expression(name: sql.Composable, type_name: str) -> sql.Composed:
    by_text = ' COLLATE "C"' if type_name.startswith(_TEXTS) else '::text COLLATE "C"'
    return sql.Composed([name, sql.SQL(by_text if order_of(type_name) == TEXT else "")])


def _row(names: list[sql.Composed]) -> sql.Composed:
    return names[0] if len(names) == 1 else sql.SQL("({})").format(sql.SQL(", ").join(names))


def condition(columns: list[sql.Composable], types: tuple[str, ...], keys: KeyRange) -> sql.Composed:
    """WHERE condition on these key columns, the bounds written in as literals of their type."""
    row = _row([_expression(c, t) for c, t in zip(columns, types, strict=True)])
    parts: list[sql.Composable] = [sql.SQL("true")]
    for bound, operator in ((keys.after, " > "), (keys.upto, " <= ")):
        if bound is not None:
            given = ["text" if order_of(t) == TEXT else t for t in types]
            literals = [sql.SQL("{}::{}").format(sql.Literal(v), sql.SQL(t)) for v, t in zip(bound, given, strict=True)]
            parts.append(row + sql.SQL(operator) + _row(literals))
    return sql.SQL(" AND ").join(parts)


def next_bound(conn: Connection, relation: InstalledRelation, after: Bound | None, rows: int) -> Bound | None:
    """The key `rows` rows after `after`; None when fewer are left, so that the chunk is the last."""
    names: list[sql.Composable] = [sql.SQL(f"r.k{i}") for i in range(len(relation.key_types))]
    order = sql.SQL(", ").join(_expression(c, t) for c, t in zip(names, relation.key_types, strict=True))
    texts = sql.SQL(", ").join(sql.SQL("{}::text").format(name) for name in names)
    statement = sql.SQL("SELECT {} FROM ({}) r WHERE {} ORDER BY {} OFFSET {} LIMIT 1").format(
        texts,
        sql.SQL(relation.query),
        condition(names, relation.key_types, KeyRange(after=after, upto=None)),
        order,
        sql.Literal(rows - 1),
    )
    row = conn.execute(statement).fetchone()
    return tuple(row) if row else None


def source_condition(relation: InstalledRelation, keys: KeyRange) -> sql.Composed:
    """Condition on the relation (alias r)."""
    names: list[sql.Composable] = [sql.SQL(f"r.k{i}") for i in range(len(relation.key_types))]
    return condition(names, relation.key_types, keys)


def target_condition(relation: InstalledRelation, types: tuple[str, ...], keys: KeyRange) -> sql.Composed:
    """The same condition on the target table's key columns, whose types may be wider."""
    return condition([sql.Identifier(name) for name in relation.key_columns], types, keys)
