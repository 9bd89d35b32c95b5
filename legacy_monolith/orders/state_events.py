"""Orders from before their events, for who begins to follow them later; `order.placed` would be one more sale."""

from legacy_monolith.orders import events
from legacy_monolith.orders.models import Order
from migration_tools.projections.state_events import publishes_state

publishes_state(
    "order.recorded",
    stream="orders",
    aggregate_type="order",
    queryset=lambda: Order.objects.prefetch_related("lines"),
    aggregate_id=lambda order: str(order.public_id),
    payload=events.facts,
)
