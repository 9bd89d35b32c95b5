"""The domain events the service publishes, each inside the transaction that makes it true."""

from typing import Any

from migration_tools.messaging import outbox

from .models import Product


def product_changed(product: Product) -> None:
    """Publish `product.changed` with the whole of what replicas keep; call inside `atomic()`, behind the row's lock."""
    outbox.publish(
        "product.changed",
        aggregate_type="product",
        aggregate_id=product.pk,
        payload=facts(product),
        stream="catalog",
    )


def facts(product: Product) -> dict[str, Any]:
    """All that others keep of a product, as it is now."""
    return {
        "product": product.pk,
        "sku": product.code,
        "name": product.title,
        "price_cents": product.price_cents,
        "currency": product.currency,
        "active": product.on_sale,
        "version": product.version,
    }
