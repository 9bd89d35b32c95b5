"""Both sides of the orders context as the same columns, by hand: the comparison must not trust the code it checks."""

from typing import Any

ORDERS_SOURCE = """SELECT o.id, o.public_id, o.user_id, u.first_name || ' ' || u.last_name, o.status, (o.total *
    100)::bigint,
    (o.discount * 100)::bigint, o.currency, o.note, o.client_reference, o.shipping_address::text, o.placed_at,
    o.paid_at,
    o.updated_at FROM orders_order o JOIN accounts_user u ON u.id = o.user_id ORDER BY o.id"""
ORDERS_TARGET = """SELECT id, public_id, customer_id, customer_name, state, total_cents, discount_cents, currency,
    remark,
    reference, ship_to::text, ordered_at, paid_at, modified_at FROM sales_order ORDER BY id"""
LINES_SOURCE = """SELECT l.id, o.public_id, l.product_id, l.quantity, (l.unit_price * 100)::bigint, l.gift_message
    FROM orders_orderline l JOIN orders_order o ON o.id = l.order_id ORDER BY l.id"""
LINES_TARGET = "SELECT id, order_public_id, product_id, qty, unit_cents, gift_note FROM sales_orderitem ORDER BY id"


def differences(shop: Any, orders: Any) -> list[tuple[str, Any, Any]]:
    """Rows that are not the same on both sides; both are open connections."""
    found = []
    for name, ours, theirs in (
        ("order", ORDERS_SOURCE, ORDERS_TARGET),
        ("line", LINES_SOURCE, LINES_TARGET),
    ):
        left = {row[0]: row for row in shop.execute(ours)}
        right = {row[0]: row for row in orders.execute(theirs)}
        for key in sorted(left.keys() | right.keys()):
            if left.get(key) != right.get(key):
                found.append((name, left.get(key), right.get(key)))
    return found
