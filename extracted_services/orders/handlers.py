"""What the service does when the monolith's domain events arrive."""

from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import handles

from .models import DailyCount


@handles("order.placed", stream="orders", versions=(1, 1))
def count_placed(envelope: Envelope) -> None:
    """Count an order that the monolith took, in the consumer's transaction."""
    DailyCount.add_placed(envelope.timestamp)
