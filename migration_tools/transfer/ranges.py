"""Walk a relation by its key in chunks: bounds, order and conditions for any key."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from migration_tools.capture.relations import InstalledRelation
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


def cut(conn: Connection, relation: InstalledRelation, after: Bound | None, rows: int, pieces: int) -> list[KeyRange]:
    """The next `pieces` ranges of about `rows` keys each; fewer, the last one open, where the keys end before."""
    ranges: list[KeyRange] = []
    while len(ranges) < pieces:
        upto = next_bound(conn, relation, after, rows)
        ranges.append(KeyRange(after=after, upto=upto))
        if upto is None:
            break
        after = upto
    return ranges


def next_bound(conn: Connection, relation: InstalledRelation, after: Bound | None, rows: int) -> Bound | None:
    """The key `rows` rows after `after`; None when fewer are left, so that the chunk is the last.

    Note [bounds come from the key's index]. Where the relation's key is plain columns of its base table the bound is
    looked up there, by an index-only scan, and no mapped row is computed for it. Rows that the relation filters or
    joins away are then counted too: a bound decides how large a chunk is, never which rows are right.
    """
    base = _base_columns(relation)
    if base is None:
        relation_rows: sql.Composable = sql.SQL("({}) r").format(sql.SQL(relation.query))
        names: list[sql.Composable] = [sql.SQL(f"r.k{i}") for i in range(len(relation.key_types))]
    else:
        relation_rows = sql.SQL("{} r").format(sql.Identifier(relation.source_table))
        names = [sql.SQL("r.{}").format(sql.Identifier(column)) for column in base]
    order = sql.SQL(", ").join(_expression(c, t) for c, t in zip(names, relation.key_types, strict=True))
    texts = sql.SQL(", ").join(sql.SQL("{}::text").format(name) for name in names)
    statement = sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {} OFFSET {} LIMIT 1").format(
        texts,
        relation_rows,
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


def among(relation: InstalledRelation, known: Sequence[Bound], *, others: bool = False) -> sql.Composed:
    """Condition on the relation (alias r): its key is one of these, or with `others` none of them."""
    columns = [sql.SQL(f"r.k{i}") for i in range(len(relation.key_types))]
    lists = [
        sql.SQL("{}::text[]::{}[]").format(sql.Literal([key[place] for key in known]), sql.SQL(type_name))
        for place, type_name in enumerate(relation.key_types)
    ]
    if len(columns) == 1:
        return sql.SQL("{} <> ALL ({})" if others else "{} = ANY ({})").format(columns[0], lists[0])
    return sql.SQL("({}) {} (SELECT * FROM unnest({}))").format(
        sql.SQL(", ").join(columns), sql.SQL("NOT IN" if others else "IN"), sql.SQL(", ").join(lists)
    )


def target_condition(relation: InstalledRelation, types: tuple[str, ...], keys: KeyRange) -> sql.Composed:
    """The same condition on the target table's key columns, whose types may be wider."""
    return condition([sql.Identifier(name) for name in relation.key_columns], types, keys)


def _base_columns(relation: InstalledRelation) -> list[str] | None:
    """The base table's columns that are the key, as the compiled relation names them; None when one is not plain."""
    table = re.escape(sql.Identifier(relation.source_table).as_string())
    found = [
        re.search(rf'(?<![\w"]){table}\."((?:[^"]|"")+)" AS "k{place}"', relation.query)
        for place in range(len(relation.key_types))
    ]
    return [match[1].replace('""', '"') for match in found if match] if all(found) else None
