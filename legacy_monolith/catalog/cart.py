"""The visitor's cart, kept in the session as product id → quantity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from django.http import HttpRequest

from legacy_monolith.accounts.models import User
from legacy_monolith.catalog.models import Product
from migration_tools.seams import seam

SESSION_KEY = "cart"


def reader(request: HttpRequest) -> User | None:
    """Who reads, for whom one side answers all day while reads move; nobody, before they have logged in."""
    return request.user if isinstance(request.user, User) else None


@dataclass(frozen=True, kw_only=True)
class CartLine:
    product: Product
    quantity: int

    @property
    def amount(self) -> Decimal:
        return self.product.price * self.quantity


class Cart:
    """What one session wants to buy."""

    def __init__(self, request: HttpRequest) -> None:
        self._session = request.session
        self._reader = reader(request)
        self._quantities: dict[str, int] = dict(self._session.get(SESSION_KEY, {}))

    def __iter__(self) -> Iterator[CartLine]:
        products = seam("catalog", self._reader).on_sale(map(int, self._quantities)) if self._quantities else {}
        for number, product in products.items():
            yield CartLine(product=product, quantity=self._quantities[str(number)])

    def add(self, product_id: int, quantity: int = 1) -> None:
        key = str(product_id)
        self._quantities[key] = min(self._quantities.get(key, 0) + quantity, 1000)
        self._save()

    def remove(self, product_id: int) -> None:
        self._quantities.pop(str(product_id), None)
        self._save()

    def clear(self) -> None:
        self._quantities = {}
        self._save()

    def _save(self) -> None:
        self._session[SESSION_KEY] = self._quantities
