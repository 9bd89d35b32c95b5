"""The domain logic of the catalog: change a product."""

from typing import Any

from django.db import transaction

from . import events
from .models import Product


def change(product_id: int, changes: dict[str, Any]) -> Product:
    """Change a product and publish `product.changed`, in one transaction; nothing to change publishes nothing.

    Raises:
        Product.DoesNotExist: there is no such product.
    """
    with transaction.atomic():
        product = (
            Product.objects.select_for_update(no_key=True, of=("self",)).select_related("category").get(pk=product_id)
        )
        differing = [name for name, value in changes.items() if getattr(product, name) != value]
        if differing:
            for name in differing:
                setattr(product, name, changes[name])
            product.version += 1
            product.save(update_fields=[*differing, "version"])
            events.product_changed(product)
    return product
