"""What products are now, as events: for who begins to follow the catalogue after some had been put into it."""

from migration_tools.projections.state_events import publishes_state

from . import events
from .models import Product

publishes_state(
    "product.changed",
    stream="catalog",
    aggregate_type="product",
    queryset=Product.objects.all,
    aggregate_id=lambda product: str(product.pk),
    payload=events.facts,
)
