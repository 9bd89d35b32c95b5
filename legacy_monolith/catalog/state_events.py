"""What products are now, as events: for who begins to follow the catalogue after some had been put into it."""

from legacy_monolith.catalog import events
from legacy_monolith.catalog.models import Product
from migration_tools.projections.state_events import publishes_state

publishes_state(
    "product.changed",
    stream="catalog",
    aggregate_type="product",
    queryset=Product.objects.all,
    aggregate_id=lambda product: str(product.pk),
    payload=events.facts,
)
