"""What nobody touches must stay: the money and the stock of the orders that were there before the demonstration."""

from __future__ import annotations

from demo.agreement import connect

Sum = tuple[int, str]

MONEY = {
    "monolith": "SELECT order_id AS number, order_id, trim_scale(amount * 100), status::text FROM payments_payment",
    "payments": """SELECT order_number AS number, order_number, trim_scale(amount_cents::numeric), status::text
        FROM billing_payment""",
}
STOCK = {
    "monolith": """SELECT order_id AS number, id, product_id::bigint, delta, reason::text, created_at
        FROM inventory_movement""",
    "inventory": """SELECT order_number AS number, id, product_id::bigint, quantity, reason::text, moved_at
        FROM depot_movement""",
}


def money(dsn: str, place: str, upto: int) -> Sum:
    """Count and digest the payments of the orders up to this number."""
    return _sum(dsn, MONEY[place], upto)


def stock(dsn: str, place: str, upto: int) -> Sum:
    """Count and digest the movements of the orders up to this number."""
    return _sum(dsn, STOCK[place], upto)


def _sum(dsn: str, rows: str, upto: int) -> Sum:
    statement = f"""
        SELECT count(*), md5(coalesce(string_agg(md5(r::text), '' ORDER BY number, md5(r::text)), ''))
        FROM ({rows}) r WHERE number <= %s"""  # noqa: S608
    with connect(dsn) as connection:
        count, digest = connection.execute(statement, [upto]).fetchone() or (0, "")
    return count, str(digest)
