"""What the stock's events carry; `strangle_contracts check` holds it and the monolith to the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from migration_tools.contracts.declaration import event

Reason = Annotated[str, {"enum": ["ordered", "cancelled"]}]


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """How much of which product."""

    product: int
    quantity: int


@event("stock.due", stream="inventory")
@dataclass(frozen=True, kw_only=True)
class StockDue:
    """An order's products are to be taken or put back by whoever owns the stock; the sender does not."""

    order_id: int
    reason: Reason
    lines: list[Quantity]


@event("stock.moved", stream="inventory")
@dataclass(frozen=True, kw_only=True)
class StockMoved:
    """An order's products were taken, or put back; `short` names those of which there are fewer than none now."""

    order_id: int
    reason: Reason
    lines: list[Quantity]
    short: list[int]
