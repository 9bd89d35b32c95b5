"""What the monolith says of the stock; `strangle_contracts check` holds it and the service to the same."""

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
