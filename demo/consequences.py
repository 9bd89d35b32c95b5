"""Consequences: what each order must have caused elsewhere, exactly once: payment, stock, daily count."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import psycopg

from demo.agreement import connect
from demo.audit import Findings, Owner
from demo.book import Book, Purchase

PAYMENT_FOR = {"placed": "authorised", "paid": "captured", "shipped": "captured", "cancelled": "refunded"}

NUMBERS = {
    "monolith": "SELECT id, public_id::text FROM orders_order WHERE public_id = ANY(%s::uuid[])",
    "orders": "SELECT id, public_id::text FROM sales_order WHERE public_id = ANY(%s::uuid[])",
}

PAYMENTS = {
    "monolith": "SELECT order_id, amount::text, status FROM payments_payment WHERE order_id = ANY(%s)",
    "payments": """
        SELECT order_number, (amount_cents::numeric / 100)::numeric(14, 2)::text, status
        FROM billing_payment WHERE order_number = ANY(%s)""",
}

MOVEMENTS = {
    "monolith": "SELECT order_id, product_id, reason, delta FROM inventory_movement WHERE order_id = ANY(%s)",
    "inventory": """
        SELECT order_number, product_id, reason, quantity FROM depot_movement WHERE order_number = ANY(%s)""",
}

STOCK = {
    "monolith": """
        SELECT s.product_id, s.on_hand, coalesce(sum(m.delta), 0)
        FROM inventory_stock s LEFT JOIN inventory_movement m ON m.product_id = s.product_id
        GROUP BY s.product_id, s.on_hand HAVING s.on_hand <> coalesce(sum(m.delta), 0)""",
    "inventory": """
        SELECT s.product_id, s.on_hand, coalesce(sum(m.quantity), 0)
        FROM depot_stock s LEFT JOIN depot_movement m ON m.product_id = s.product_id
        GROUP BY s.product_id, s.on_hand HAVING s.on_hand <> coalesce(sum(m.quantity), 0)""",
}

COUNTED = "SELECT coalesce(sum(placed), 0) FROM sales_dailycount"

STREAMED = """
    SELECT payload ->> 'public_id' FROM strangle_stream
    WHERE stream = 'orders' AND event_type = 'order.placed' AND position > %s"""

PUBLISHED = """
    SELECT public_id FROM (
        SELECT event_id, payload ->> 'public_id' AS public_id FROM strangle_stream
        WHERE stream = 'orders' AND event_type = 'order.placed'
        UNION
        SELECT event_id, payload ->> 'public_id' FROM strangle_outbox WHERE event_type = 'order.placed') e"""
"""The outbox keeps what is numbered for some minutes only, and what is not numbered yet is in no stream."""


def audit_payments(
    book: Book,
    shop_dsn: str,
    *,
    owner: Owner = "monolith",
    owner_dsn: str = "",
    before: float | None = None,
    payments_dsn: str = "",
    stock_dsn: str = "",
) -> Findings:
    """Check payments and stock movements, in the monolith or where they are now.

    Args:
        owner: The side that knows the orders' numbers; after the decommission only the service does.
        owner_dsn: Its database, when that is not the monolith's.
        before: Leave out purchases made after this instant (epoch seconds).
        payments_dsn: The database of the payments service, once it owns them.
        stock_dsn: The database of the inventory service, once it owns the stock.
    """
    findings = Findings()
    purchases = {p.order: p for p in book.kept if before is None or p.at < before}
    with connect(owner_dsn or shop_dsn) as orders:
        numbers = dict(orders.execute(NUMBERS[owner], [list(purchases)]).fetchall())
    with connect(payments_dsn or shop_dsn) as paid:
        _check_payments(purchases, numbers, paid, PAYMENTS["payments" if payments_dsn else "monolith"], findings)
    with connect(stock_dsn or shop_dsn) as stock:
        place = "inventory" if stock_dsn else "monolith"
        _check_movements(purchases, numbers, stock, MOVEMENTS[place], findings)
        for product, on_hand, moved in stock.execute(STOCK[place]):
            findings.wrong.append(f"stock of product {product}: {on_hand} on hand, movements sum up to {moved}")
    return findings


def audit_daily_count(
    book: Book, shop_dsn: str, orders_dsn: str, *, since_epoch: float, since_position: int = 0
) -> Findings:
    """Check the service's counter, which shows an event applied twice or not at all.

    It must equal the events the monolith published since the service listens, plus the service's own;
    and those events must name every purchase acknowledged after ``since_epoch`` exactly once.
    """
    findings = Findings()
    with connect(shop_dsn) as shop, connect(orders_dsn) as orders:
        placed = Counter(order for (order,) in shop.execute(STREAMED, [since_position]))
        placed.update(order for (order,) in orders.execute(PUBLISHED))
        (counted,) = orders.execute(COUNTED).fetchone() or (0,)
    findings.checked["order.placed events"] = placed.total()
    if counted != placed.total():
        findings.wrong.append(f"the service counted {counted} placed orders; {placed.total()} were published")
    for order, times in placed.items():
        if times > 1:
            findings.duplicated.append(f"order {order}: order.placed published {times} times")
    for purchase in book.kept:
        if purchase.at > since_epoch and purchase.order not in placed:
            findings.lost.append(f"order {purchase.order}: no order.placed was published")
    return findings


def _check_payments(
    purchases: dict[str, Purchase],
    numbers: dict[int, str],
    place: psycopg.Connection[Any],
    statement: str,
    findings: Findings,
) -> None:
    payments: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for number, amount, status in place.execute(statement, [list(numbers)]):
        payments[numbers[number]].append((amount, status))
    for order, purchase in purchases.items():
        findings.checked["payments"] += 1
        found = payments.get(order, [])
        allowed = {(purchase.total, PAYMENT_FOR[state]) for state in purchase.states}
        if len(found) > 1:
            findings.duplicated.append(f"order {order}: {len(found)} payments: {found}")
        elif not found:
            findings.lost.append(f"order {order} ({purchase.state}): no payment")
        elif found[0] not in allowed:
            findings.wrong.append(f"order {order} ({purchase.state}): payment {found[0]}, not {sorted(allowed)}")


def _check_movements(
    purchases: dict[str, Purchase],
    numbers: dict[int, str],
    place: psycopg.Connection[Any],
    statement: str,
    findings: Findings,
) -> None:
    movements: dict[str, Counter[tuple[int, str, int]]] = defaultdict(Counter)
    for number, product, reason, delta in place.execute(statement, [list(numbers)]):
        movements[numbers[number]][product, reason, delta] += 1
    for order, purchase in purchases.items():
        findings.checked["movements"] += 1
        quantities: Counter[int] = Counter()
        for product, quantity in purchase.lines:
            quantities[product] += quantity
        taken = Counter({(product, "ordered", -quantity): 1 for product, quantity in quantities.items()})
        returned = Counter({(product, "cancelled", quantity): 1 for product, quantity in quantities.items()})
        allowed = [taken + returned if state == "cancelled" else taken for state in purchase.states]
        if movements.get(order, Counter()) not in allowed:
            found = dict(movements.get(order, {}))
            findings.wrong.append(f"order {order} ({purchase.state}): stock movements {found}, bought {purchase.lines}")
