"""Orders from before their events, for who begins to follow them later; `order.placed` would be one more sale."""

from migration_tools.projections.state_events import publishes_state

from . import events
from .models import Order

publishes_state(
    "order.recorded",
    stream="orders",
    aggregate_type="order",
    queryset=lambda: Order.objects.prefetch_related("items"),
    aggregate_id=lambda order: str(order.public_id),
    payload=events.facts,
)
