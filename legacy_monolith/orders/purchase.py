"""The purchase: order, lines, stock and payment in one ACID transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import transaction

from legacy_monolith.accounts.models import User
from legacy_monolith.catalog.models import Product
from legacy_monolith.inventory.models import Movement
from legacy_monolith.inventory.stock import reserve, settle
from legacy_monolith.orders import events
from legacy_monolith.orders.models import Order, OrderLine
from legacy_monolith.payments import ledger

GREATEST_TOTAL = Decimal("9999999999.99")  # what numeric(12, 2) holds


@dataclass(frozen=True, kw_only=True)
class Item:
    """One line of a purchase, as the customer asks for it."""

    product_id: int
    quantity: int
    gift_message: str | None = None


class PurchaseRefused(Exception):
    """The purchase can never succeed as asked for; nothing was changed."""


def purchase(
    user: User,
    items: Sequence[Item],
    *,
    client_reference: str = "",
    note: str | None = None,
    shipping_address: dict[str, Any] | None = None,
) -> Order:
    """Buy the items, all or nothing.

    Opens its own transaction, or joins the caller's with a savepoint. Stock rows are locked in product
    order before anything else is written.

    Raises:
        PurchaseRefused: an unknown or inactive product, mixed currencies, or too great a total.
        InsufficientStock: too few of a product on hand.
    """
    products = _products(items)
    total = sum((products[item.product_id].price * item.quantity for item in items), Decimal("0.00"))
    if total > GREATEST_TOTAL:
        raise PurchaseRefused(f"the total {total} is above {GREATEST_TOTAL}; split the order")
    currencies = {product.currency for product in products.values()}
    if len(currencies) != 1:
        raise PurchaseRefused(f"an order has one currency, not {sorted(currencies)!r}; split the order")
    quantities: Counter[int] = Counter()
    for item in items:
        quantities[item.product_id] += item.quantity

    with transaction.atomic():
        reserve(quantities)
        order = Order.objects.create(
            user=user,
            total=total,
            currency=currencies.pop(),
            note=note,
            client_reference=client_reference,
            shipping_address=shipping_address or {},
        )
        lines = OrderLine.objects.bulk_create(
            OrderLine(
                order=order,
                product_id=item.product_id,
                quantity=item.quantity,
                unit_price=products[item.product_id].price,
                gift_message=item.gift_message,
            )
            for item in items
        )
        settle(order.pk, quantities, Movement.Reason.ORDERED)
        ledger.authorise(order.pk, total, public_id=order.public_id, user_id=user.pk)
        events.order_placed(order, lines)
    return order


def _products(items: Sequence[Item]) -> dict[int, Product]:
    if not items:
        raise PurchaseRefused("an order needs at least one line")
    wanted = {item.product_id for item in items}
    products = Product.objects.filter(active=True).in_bulk(list(wanted))
    if missing := sorted(wanted - products.keys()):
        raise PurchaseRefused(f"the products {missing!r} are not for sale; see /api/products/")
    return products
