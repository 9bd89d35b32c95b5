"""Taking products out of stock and putting them back, always in product order, by whoever owns the stock."""

from __future__ import annotations

from collections.abc import Mapping

from django.db.models import F

from legacy_monolith.inventory.models import Movement, Stock
from migration_tools.capture.ownership import owned_here
from migration_tools.messaging.outbox import publish

CONTEXT = "inventory"


class InsufficientStock(Exception):
    """There is less on hand than asked for; nothing was taken."""

    def __init__(self, product_ids: list[int]) -> None:
        super().__init__(f"not enough in stock of the products {product_ids!r}; order fewer of them")
        self.product_ids = product_ids


def reserve(quantities: Mapping[int, int]) -> None:
    """Lock the stock of the products until the transaction ends, and see that it suffices.

    Rows are locked in product order by everyone, so two purchases never wait for each other in a ring. Where the
    stock is not owned here there is nothing to lock: as for a sale of the orders service, its owner hears of it.

    Raises:
        InsufficientStock: a product has too few on hand, or no stock row at all.
    """
    if not owned_here(CONTEXT):
        return
    locked = Stock.objects.select_for_update().filter(product_id__in=list(quantities)).order_by("product_id")
    on_hand = {stock.product_id: stock.on_hand for stock in locked}
    short = [product for product in sorted(quantities) if on_hand.get(product, 0) < quantities[product]]
    if short:
        raise InsufficientStock(short)


def settle(order_id: int, quantities: Mapping[int, int], reason: Movement.Reason, *, heard: bool = False) -> None:
    """Take or put back what an order moves, here or, by the event `stock.due`, where the stock is owned.

    With `heard` of it by an event, it may have been done before the stock changed hands: then a movement says so.
    """
    if not owned_here(CONTEXT):
        lines = [{"product": product, "quantity": quantity} for product, quantity in sorted(quantities.items())]
        payload = {"order_id": order_id, "reason": str(reason), "lines": lines}
        publish("stock.due", aggregate_type="order", aggregate_id=order_id, payload=payload, stream=CONTEXT)
    elif not (heard and Movement.objects.filter(order_id=order_id, reason=reason).exists()):
        _move(order_id, quantities, sign=-1 if reason == Movement.Reason.ORDERED else +1, reason=reason)


def _move(order_id: int, quantities: Mapping[int, int], *, sign: int, reason: Movement.Reason) -> None:
    """Change the stock by `sign` times the quantity of each product, and note each change as a movement."""
    for product_id, quantity in sorted(quantities.items()):
        Stock.objects.filter(product_id=product_id).update(on_hand=F("on_hand") + sign * quantity)
    Movement.objects.bulk_create(
        Movement(product_id=product_id, order_id=order_id, delta=sign * quantity, reason=reason)
        for product_id, quantity in sorted(quantities.items())
    )
