"""What the service does when other sides' domain events arrive."""

from migration_tools.capture.applying import keeping_replicas
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import handles

from .models import Customer, DailyCount, Order, Product


@handles("order.placed", stream="orders", versions=(1, 1))
def count_placed(envelope: Envelope) -> None:
    """Count an order that the monolith took, in the consumer's transaction."""
    DailyCount.add_placed(envelope.timestamp)


@handles("product.changed", stream="catalog", group="products")
def follow_product(envelope: Envelope) -> None:
    """Keep the replica of the catalogue once the monolith, whose sync kept it, has no catalogue any more."""
    said = envelope.payload
    with keeping_replicas():
        Product.objects.update_or_create(
            id=said["product"],
            defaults={name: said[name] for name in ("sku", "name", "price_cents", "currency", "active")},
        )


@handles("user.renamed", stream="users", group="names")
def follow_name(envelope: Envelope) -> None:
    """Call a customer in their orders as they are called now, once the monolith has no customers any more."""
    number, name = envelope.payload["user_id"], envelope.payload["name"]
    Customer.objects.update_or_create(id=number, defaults={"name": name})
    Order.objects.filter(customer_id=number).exclude(customer_name=name).update(customer_name=name)


@handles("user.known", stream="users", group="names")
def follow_id(envelope: Envelope) -> None:
    """Keep the id by which a customer is known outside."""
    number, public_id = envelope.payload["user_id"], envelope.payload["public_id"]
    Customer.objects.update_or_create(id=number, defaults={"public_id": public_id})
