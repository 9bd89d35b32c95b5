"""The domain events of the catalogue, published in the caller's transaction."""

from typing import Any

from django.dispatch import receiver

from legacy_monolith.catalog.models import Product
from legacy_monolith.told import told
from migration_tools.messaging.outbox import publish


@receiver(told, sender=Product, dispatch_uid="product_changed")
def product_changed(instance: Product, **kwargs: Any) -> None:
    publish(
        "product.changed",
        aggregate_type="product",
        aggregate_id=instance.pk,
        payload=facts(instance),
        stream="catalog",
    )


def facts(product: Product) -> dict[str, Any]:
    """All that others keep of a product, as it is now."""
    return {
        "product": product.pk,
        "sku": product.sku,
        "name": product.name,
        "price_cents": int(product.price * 100),
        "currency": product.currency,
        "active": product.active,
        "version": product.version,
    }
