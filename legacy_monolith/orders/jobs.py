"""Jobs that change many orders behind the API: one by bulk ORM, one by raw SQL."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from legacy_monolith.orders.models import Order

# Orders younger than this belong to their shoppers, whose pay, ship and cancel must not be overtaken.
AGE_BEFORE_SHIPPING = timedelta(hours=1)

NOTES = ("repriced", "wird geprüft ✅", "", "cafe\u0301, please ring twice 🛎️")
DISCOUNTS = (Decimal("0.00"), Decimal("0.10"), Decimal("1.00"), Decimal("12.34"), None)

RAW_ADJUST = """
WITH chosen AS (
    SELECT id FROM orders_order WHERE id >= %(start)s ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE orders_order SET discount = %(discount)s
FROM chosen WHERE orders_order.id = chosen.id
RETURNING orders_order.id, orders_order.public_id
"""


@dataclass(frozen=True, kw_only=True)
class OrderChange:
    """One order that a job has changed, and the values it has now."""

    order_id: int
    public_id: str
    values: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Give the change as JSON holds it (decimals as text)."""
        return asdict(self)


def bulk_update_orders(limit: int, seed: int) -> list[OrderChange]:
    """Give up to `limit` open orders a new note, and ship the old paid ones among them.

    Uses `QuerySet.update`: no signal, no `updated_at`, no event. Opens its own transaction; orders that
    somebody else has locked are left out. The same seed on the same orders chooses the same.

    Raises:
        OperationalError: SQLSTATE 40S01 when the monolith no longer owns orders; nothing was changed.
    """
    choice = random.Random(seed)  # noqa: S311  (a repeatable choice, no secret)
    note = f"{choice.choice(NOTES)} #{seed}"
    with transaction.atomic():
        open_orders = Order.objects.filter(status__in=(Order.Status.PLACED, Order.Status.PAID))
        ids = _ids(open_orders, limit, choice)
        Order.objects.filter(id__in=ids).update(note=note)
        old = Order.objects.filter(id__in=ids, placed_at__lt=timezone.now() - AGE_BEFORE_SHIPPING)
        old.filter(status=Order.Status.PAID).update(status=Order.Status.SHIPPED)
        changed = Order.objects.filter(id__in=ids).order_by("id").values_list("id", "public_id", "status")
        return [
            OrderChange(order_id=pk, public_id=str(public_id), values={"note": note, "status": status})
            for pk, public_id, status in changed
        ]


def raw_adjust_orders(limit: int, seed: int) -> list[OrderChange]:
    """Give up to `limit` orders, in any state, a new discount by one raw UPDATE behind the ORM's back.

    Opens its own transaction, leaves locked orders out, chooses by seed and fails as `bulk_update_orders`.
    """
    choice = random.Random(seed)  # noqa: S311  (a repeatable choice, no secret)
    discount = choice.choice(DISCOUNTS)
    with transaction.atomic(), connection.cursor() as cursor:
        start = _start(Order.objects.all(), limit, choice)
        cursor.execute(RAW_ADJUST, {"start": start, "limit": limit, "discount": discount})
        rows = sorted(cursor.fetchall())
    values = {"discount": None if discount is None else str(discount)}
    return [OrderChange(order_id=pk, public_id=str(public_id), values=values) for pk, public_id in rows]


def _ids(orders: QuerySet[Order], limit: int, choice: random.Random) -> Sequence[int]:
    """Lock up to `limit` of the orders, from a random one on."""
    start = _start(orders, limit, choice)
    locked = orders.select_for_update(skip_locked=True).filter(id__gte=start).order_by("id")
    return list(locked.values_list("id", flat=True)[:limit])


def _start(orders: QuerySet[Order], limit: int, choice: random.Random) -> int:
    """Choose an id that has `limit` of the orders at or above it, if there are so many."""
    last = orders.order_by("-id").values_list("id", flat=True)[max(limit - 1, 0) : max(limit, 1)].first()
    return choice.randint(1, last) if last else 0
