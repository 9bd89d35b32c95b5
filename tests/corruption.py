"""Plants corruptions of every kind in the service's tables, behind the back of everything that watches them."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Planted = dict[tuple[str, str], str]
Plant = Callable[[Any, Iterator[int]], Planted]

ORDER, LINE, PRODUCT = "sales_order", "sales_orderitem", "sales_product"


@contextmanager
def unseen(conn: Any) -> Iterator[None]:
    """A transaction that no trigger, fence or foreign key minds, like a disk or a hand that errs."""
    with conn.transaction():
        conn.execute("SELECT set_config('strangle.applying', 'row', true)")
        conn.execute("SET LOCAL session_replication_role = replica")
        yield


def _set(column: str, expression: str, kind: str = "changed", where: str = "true") -> Plant:
    """An order's column set to an expression, in the first row to hand that fits."""

    def plant(conn: Any, rows: Iterator[int]) -> Planted:
        for row in rows:
            changed = conn.execute(
                f"UPDATE {ORDER} SET {column} = {expression} WHERE id = %s AND ({where}) "
                f"AND ({column}) IS DISTINCT FROM ({expression})",
                [row],
            )
            if changed.rowcount:
                return {(ORDER, str(row)): kind}
        raise AssertionError(f"no row to plant {column} = {expression} in")

    return plant


def _delete_line(conn: Any, rows: Iterator[int]) -> Planted:
    key = _line_of(conn, next(rows))
    conn.execute(f"DELETE FROM {LINE} WHERE id = %s", [key])
    return {(LINE, str(key)): "missing"}


def _delete_order(conn: Any, rows: Iterator[int]) -> Planted:
    row = next(rows)
    gone = conn.execute(
        f"DELETE FROM {LINE} l USING {ORDER} o WHERE l.order_public_id = o.public_id AND o.id = %s RETURNING l.id",
        [row],
    ).fetchall()
    conn.execute(f"DELETE FROM {ORDER} WHERE id = %s", [row])
    return {(ORDER, str(row)): "missing"} | {(LINE, str(key)): "missing" for (key,) in gone}


def _rekey_line(conn: Any, rows: Iterator[int]) -> Planted:
    key = _line_of(conn, next(rows))
    conn.execute(f"UPDATE {LINE} SET id = id + 90000000 WHERE id = %s", [key])
    return {(LINE, str(key)): "missing", (LINE, str(key + 90_000_000)): "extra"}


def _repeat_line(conn: Any, rows: Iterator[int]) -> Planted:
    key = _line_of(conn, next(rows))
    conn.execute(
        f"INSERT INTO {LINE} (id, order_public_id, product_id, qty, unit_cents, gift_note) "
        f"SELECT id + 80000000, order_public_id, product_id, qty, unit_cents, gift_note FROM {LINE} WHERE id = %s",
        [key],
    )
    return {(LINE, str(key + 80_000_000)): "extra"}


def _orphan_line(conn: Any, rows: Iterator[int]) -> Planted:
    conn.execute(
        f"INSERT INTO {LINE} (id, order_public_id, product_id, qty, unit_cents) "
        "VALUES (70000000, gen_random_uuid(), 1, 1, 100)"
    )
    return {(LINE, "70000000"): "orphan"}


def _extra_product(conn: Any, rows: Iterator[int]) -> Planted:
    conn.execute(
        f"INSERT INTO {PRODUCT} (id, sku, name, price_cents, currency, active) "
        "VALUES (777000, 'ghost', 'g', 1, 'EUR', true)"
    )
    return {(PRODUCT, "777000"): "extra"}


def _balanced_lines(conn: Any, rows: Iterator[int]) -> Planted:
    """One more here, one less there: every sum stays."""
    one, other = _line_of(conn, next(rows)), _line_of(conn, next(rows))
    conn.execute(f"UPDATE {LINE} SET qty = qty + 1 WHERE id = %s", [one])
    conn.execute(f"UPDATE {LINE} SET qty = qty - 1 WHERE id = %s", [other])
    return {(LINE, str(one)): "changed", (LINE, str(other)): "changed"}


def _swapped_rows(conn: Any, rows: Iterator[int]) -> Planted:
    """Two rows have each other's amount: every digest of a single column stays."""
    one, other = next(rows), next(rows)
    conn.execute(
        f"UPDATE {ORDER} a SET total_cents = b.total_cents FROM {ORDER} b "
        "WHERE (a.id, b.id) IN ((%(a)s, %(b)s), (%(b)s, %(a)s))",
        {"a": one, "b": other},
    )
    return {(ORDER, str(one)): "changed", (ORDER, str(other)): "changed"}


def _swapped_columns(conn: Any, rows: Iterator[int]) -> Planted:
    row = next(rows)
    conn.execute(f"UPDATE {ORDER} SET reference = COALESCE(remark, 'x'), remark = reference WHERE id = %s", [row])
    return {(ORDER, str(row)): "changed"}


def _line_of(conn: Any, order: int) -> int:
    query = f"SELECT min(l.id) FROM {LINE} l JOIN {ORDER} o ON o.public_id = l.order_public_id WHERE o.id = %s"
    return int(conn.execute(query, [order]).fetchone()[0])


PLANTS: dict[str, Plant] = {
    "a line lost": _delete_line,
    "an order lost with its lines": _delete_order,
    "a line under another key": _rekey_line,
    "a line that stands twice": _repeat_line,
    "a line without its order": _orphan_line,
    "a product nobody has": _extra_product,
    "two lines that balance": _balanced_lines,
    "two rows with each other's amount": _swapped_rows,
    "two columns swapped": _swapped_columns,
    "an amount off by one": _set("total_cents", "total_cents + 1"),
    "an amount that folds to the same 32 bits": _set("total_cents", "(total_cents # 1) + 4294967296"),
    "NULL becomes ''": _set("remark", "''", where="remark IS NULL"),
    "'' becomes NULL": _set("remark", "NULL", where="remark = ''"),
    "NULL becomes zero": _set("discount_cents", "0", where="discount_cents IS NULL"),
    "letter case": _set("currency", "lower(currency)"),
    "trailing space": _set("remark", "remark || ' '", "precision_or_type", "remark <> ''"),
    "Unicode spelled otherwise": _set("remark", "normalize(remark, NFD)", "precision_or_type", "remark ~ 'ñ'"),
    "a microsecond": _set("ordered_at", "ordered_at + interval '1 microsecond'", "precision_or_type"),
    "a time zone lost": _set("ordered_at", "ordered_at + interval '2 hours'"),
    "a value inside JSON": _set("ship_to", """'{"b": [1, 2], "a": "ü"}'::jsonb"""),
    "a type inside JSON": _set("ship_to", """'{"b": ["1", null, 1e400], "a": "ü"}'::jsonb"""),
}


def plant_all(conn: Any, seed: int, keys: list[int]) -> Planted:
    """Plant every kind, in an order and in rows drawn from `keys` by the seed; give what must be found."""
    choose = random.Random(seed)
    rows = iter(choose.sample(keys, len(keys)))
    names = choose.sample(sorted(PLANTS), len(PLANTS))
    planted: Planted = {}
    with unseen(conn):
        for name in names:
            planted |= PLANTS[name](conn, rows)
    return planted
