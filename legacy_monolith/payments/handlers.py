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
    payload = envelope.payload
    ledger.authorise(
        payload["order_id"],
        Decimal(payload["total"]),
        public_id=payload["public_id"],
        user_id=payload["user_id"],
        heard=True,
    )


@handles("order.paid", stream="orders", versions=(1, 1))
def capture_payment(envelope: Envelope) -> None:
    ledger.capture(envelope.payload["order_id"])


@handles("order.cancelled", stream="orders", versions=(1, 1))
def refund_payment(envelope: Envelope) -> None:
    ledger.refund(envelope.payload["order_id"])


@handles("payment.due", stream="payments")
def settle_or_hand_back(envelope: Envelope) -> None:
    """Do what the payments service no longer could, or hand it back if it owns the payments again."""
    payload = envelope.payload
    match payload["step"]:
        case "authorise":
            known = {"public_id": payload.get("public_id"), "user_id": payload.get("user_id")}
            ledger.authorise(payload["order_id"], Decimal(payload["amount"]), **known, heard=True)
        case "capture":
            ledger.capture(payload["order_id"])
        case "refund":
            ledger.refund(payload["order_id"])
