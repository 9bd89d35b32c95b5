"""What the service's order events carry; `strangle_contracts check` holds it and the monolith to the same."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from migration_tools.contracts.declaration import event

Currency = Annotated[str, {"minLength": 3, "maxLength": 3}]
Status = Annotated[str, {"enum": ["placed", "paid", "shipped", "cancelled"]}]


@dataclass(frozen=True, kw_only=True)
class Line:
    """How much of which product."""

    product: int
    quantity: int


@event("order.placed", stream="orders")
@dataclass(frozen=True, kw_only=True)
class OrderPlaced:
    """Somebody bought something."""

    order_id: int
    public_id: uuid.UUID
    user_id: int
    total: Decimal
    currency: Currency
    lines: list[Line]


@event("order.paid", stream="orders")
@dataclass(frozen=True, kw_only=True)
class OrderPaid:
    """An order was paid in full."""

    order_id: int
    public_id: uuid.UUID
    amount: Decimal


@event("order.shipped", stream="orders")
@dataclass(frozen=True, kw_only=True)
class OrderShipped:
    """An order has left the warehouse."""

    order_id: int
    public_id: uuid.UUID


@event("order.cancelled", stream="orders")
@dataclass(frozen=True, kw_only=True)
class OrderCancelled:
    """An order will not be delivered; its lines go back to the stock."""

    order_id: int
    public_id: uuid.UUID
    lines: list[Line]


@event("order.recorded", stream="orders")
@dataclass(frozen=True, kw_only=True)
class OrderRecorded:
    """An order as it is now, from before its events or not; nothing has happened."""

    order_id: int
    public_id: uuid.UUID
    user_id: int
    total: Decimal
    currency: Currency
    status: Status
    placed_at: dt.datetime
    lines: list[Line]
