"""What the orders' events are to this service: facts."""

from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import handles

from .facts import CANCELLED, FACTS, LINE, PAID

GROUP = "facts"


@handles("order.placed", stream="orders", group=GROUP)
def placed(envelope: Envelope) -> None:
    """Who bought what, with what."""
    said = envelope.payload
    lines = enumerate(said["lines"], 1)
    FACTS.write(
        LINE,
        *((said["public_id"], number, said["user_id"], line["product"], line["quantity"]) for number, line in lines),
    )


@handles("order.paid", stream="orders", group=GROUP)
def paid(envelope: Envelope) -> None:
    """What was taken in, and on which day."""
    said = envelope.payload
    FACTS.write(PAID, (said["public_id"], envelope.timestamp.date(), said["amount"]))


@handles("order.cancelled", stream="orders", group=GROUP)
def cancelled(envelope: Envelope) -> None:
    """What is not taken in after all, whether it was paid before or is heard to have been later."""
    FACTS.write(CANCELLED, (envelope.payload["public_id"], envelope.timestamp.date()))
