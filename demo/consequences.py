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

PAYMENTS = "SELECT order_id, amount::text, status FROM payments_payment WHERE order_id = ANY(%s)"

MOVEMENTS = "SELECT order_id, product_id, reason, delta FROM inventory_movement WHERE order_id = ANY(%s)"

STOCK = """
    SELECT s.product_id, s.on_hand, coalesce(sum(m.delta), 0)
    FROM inventory_stock s LEFT JOIN inventory_movement m ON m.product_id = s.product_id
    GROUP BY s.product_id, s.on_hand HAVING s.on_hand <> coalesce(sum(m.delta), 0)"""

COUNTED = "SELECT coalesce(sum(placed), 0) FROM sales_dailycount"

STREAMED = """
    SELECT payload ->> 'public_id' FROM strangle_stream
    WHERE stream = 'orders' AND event_type = 'order.placed' AND position > %s"""

PUBLISHED = "SELECT payload ->> 'public_id' FROM strangle_outbox WHERE event_type = 'order.placed'"


def audit_payments(
    book: Book, shop_dsn: str, *, owner: Owner = "monolith", owner_dsn: str = "", before: float | None = None
) -> Findings:
    """Check payments and stock movements in the monolith.

    Args:
        owner: The side that knows the orders' numbers; after the decommission only the service does.
        owner_dsn: Its database, when that is not the monolith's.
        before: Leave out purchases made after this instant (epoch seconds).
    """
    findings = Findings()
    purchases = {p.order: p for p in book.kept if before is None or p.at < before}
    with connect(shop_dsn) as shop, connect(owner_dsn or shop_dsn) as orders:
        numbers = dict(orders.execute(NUMBERS[owner], [list(purchases)]).fetchall())
        _check_payments(purchases, numbers, shop, findings)
        _check_movements(purchases, numbers, shop, findings)
        for product, on_hand, moved in shop.execute(STOCK):
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
    purchases: dict[str, Purchase], numbers: dict[int, str], shop: psycopg.Connection[Any], findings: Findings
) -> None:
    payments: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for number, amount, status in shop.execute(PAYMENTS, [list(numbers)]):
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
    purchases: dict[str, Purchase], numbers: dict[int, str], shop: psycopg.Connection[Any], findings: Findings
) -> None:
    movements: dict[str, Counter[tuple[int, str, int]]] = defaultdict(Counter)
    for number, product, reason, delta in shop.execute(MOVEMENTS, [list(numbers)]):
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
