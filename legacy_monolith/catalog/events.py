"""The domain events of the catalogue, published in the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migration_tools.messaging.outbox import publish

if TYPE_CHECKING:
    from legacy_monolith.catalog.models import Product


def product_changed(product: Product) -> None:
    publish(
        "product.changed", aggregate_type="product", aggregate_id=product.pk, payload=facts(product), stream="catalog"
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
