"""What the catalog's events carry; `strangle_contracts check` holds it to what was released."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from migration_tools.contracts.declaration import event

Currency = Annotated[str, {"minLength": 3, "maxLength": 3}]


@event("product.changed", stream="catalog")
@dataclass(frozen=True, kw_only=True)
class ProductChanged:
    """A product is new, or something about it is; all that others keep of it, as it is now."""

    product: int
    sku: str
    name: str
    price_cents: int
    currency: Currency
    active: bool
    version: int = 0
