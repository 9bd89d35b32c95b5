"""What the monolith says of payments; `strangle_contracts check` holds it and the service to the same."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from migration_tools.contracts.declaration import event

Step = Annotated[str, {"enum": ["authorise", "capture", "refund"]}]


@event("payment.due", stream="payments")
@dataclass(frozen=True, kw_only=True)
class PaymentDue:
    """An order's payment is to go a step on, by whoever owns the payments; the sender does not.

    Amount, order and payer are known of the first step alone.
    """

    order_id: int
    step: Step
    amount: Decimal | None = None
    public_id: uuid.UUID | None = None
    user_id: int | None = None
