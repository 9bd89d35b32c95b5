"""What the orders' events are to this service: facts."""

from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import handles

from .facts import FACTS

GROUP = "facts"


@handles("order.placed", stream="orders", group=GROUP)
def placed(envelope: Envelope) -> None:
    """Who bought what, with what."""
    said = envelope.payload
    FACTS.placed(said["public_id"], said["user_id"], said["lines"])


@handles("order.paid", stream="orders", group=GROUP)
def paid(envelope: Envelope) -> None:
    """What was taken in, and on which day."""
    said = envelope.payload
    FACTS.paid(said["public_id"], envelope.timestamp.date(), said["amount"])


@handles("order.cancelled", stream="orders", group=GROUP)
def cancelled(envelope: Envelope) -> None:
    """What is not taken in after all, whether it was paid before or is heard to have been later."""
    FACTS.cancelled(envelope.payload["public_id"], envelope.timestamp.date())
