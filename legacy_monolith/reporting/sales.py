"""Sales reports: JOINs across the tables of every app, one by the ORM and one in raw SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection
from django.db.models import Count, F, Sum
from django.db.models.functions import TruncMonth

from legacy_monolith.orders.models import Order, OrderLine

TOP_CUSTOMERS = """
SELECT u.id, u.first_name || ' ' || u.last_name, count(*),
       sum(o.total - coalesce(o.discount, 0)),
       sum(p.amount) FILTER (WHERE p.status = 'captured')
FROM orders_order o
JOIN accounts_user u ON u.id = o.user_id
LEFT JOIN payments_payment p ON p.order_id = o.id
WHERE o.status <> 'cancelled'
GROUP BY u.id
ORDER BY 4 DESC, u.id
LIMIT %s
"""


@dataclass(frozen=True, kw_only=True)
class CategoryMonth:
    """What one category sold in one month."""

    category: str
    month: datetime
    orders: int
    pieces: int
    revenue: Decimal


@dataclass(frozen=True, kw_only=True)
class Customer:
    """What one customer spent."""

    id: int
    name: str
    orders: int
    spent: Decimal
    captured: Decimal | None


def sales_by_category(year: int) -> list[CategoryMonth]:
    """Sum the lines of a year's orders, cancelled ones left out, by category and month."""
    lines = OrderLine.objects.exclude(order__status=Order.Status.CANCELLED).filter(order__placed_at__year=year)
    rows = (
        lines.annotate(month=TruncMonth("order__placed_at"))
        .values("month", category=F("product__category__name"))
        .annotate(
            orders=Count("order", distinct=True),
            pieces=Sum("quantity"),
            revenue=Sum(F("quantity") * F("unit_price")),
        )
        .order_by("month", "category")
    )
    return [CategoryMonth(**row) for row in rows]


def top_customers(limit: int) -> list[Customer]:
    """List the customers that spent most, the greatest first."""
    with connection.cursor() as cursor:
        cursor.execute(TOP_CUSTOMERS, [limit])
        return [
            Customer(id=pk, name=name, orders=orders, spent=spent, captured=captured)
            for pk, name, orders, spent, captured in cursor.fetchall()
        ]
