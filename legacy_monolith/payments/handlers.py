"""What payments do when another service sells: they follow the events of the orders context."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from legacy_monolith.payments import ledger
from migration_tools.messaging.handlers import handles

if TYPE_CHECKING:
    from migration_tools.messaging.envelope import Envelope


@handles("order.placed", stream="orders", versions=(1, 1))
def authorise_payment(envelope: Envelope) -> None:
    ledger.authorise(envelope.payload["order_id"], Decimal(envelope.payload["total"]))


@handles("order.paid", stream="orders", versions=(1, 1))
def capture_payment(envelope: Envelope) -> None:
    ledger.capture(envelope.payload["order_id"])


@handles("order.cancelled", stream="orders", versions=(1, 1))
def refund_payment(envelope: Envelope) -> None:
    ledger.refund(envelope.payload["order_id"])
