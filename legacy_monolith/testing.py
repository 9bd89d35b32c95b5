"""What tests of the shop need: a browser-like client and a few rows."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import count
from typing import Any

from django.test import Client

from legacy_monolith.catalog.models import Category, Product
from legacy_monolith.inventory.models import Stock

_numbers = count(1)


class Shopper:
    """A client that keeps its cookies and sends the CSRF token, as a browser does."""

    def __init__(self) -> None:
        self.client = Client(enforce_csrf_checks=True)
        self.client.get("/api/csrf/")
        self.id = 0

    def sign_up(self, first_name: str = "Ada", last_name: str = "Lovelace") -> Shopper:
        email = f"ada{next(_numbers)}@example.com"
        body = {"email": email, "password": "long enough", "first_name": first_name, "last_name": last_name}
        self.id = self.call("POST", "/api/accounts/signup/", body).json()["id"]
        return self

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a JSON request with the CSRF token; give Django's response."""
        token = self.client.cookies["csrftoken"].value
        return self.client.generic(
            method,
            path,
            data=b"" if body is None else json.dumps(body).encode(),
            content_type="application/json",
            headers={"x-csrftoken": token, "accept": "application/json"},
        )

    def get(self, path: str) -> Any:
        return self.client.get(path, headers={"accept": "application/json"})

    def buy(self, product: Product, quantity: int = 1, **fields: Any) -> Any:
        line = {"product": product.pk, "quantity": quantity}
        return self.call("POST", "/api/orders/", {"lines": [line], **fields})


def make_product(price: str = "12.34", on_hand: int = 10, **fields: Any) -> Product:
    """Make a product with so many in stock."""
    number = next(_numbers)
    category, _ = Category.objects.get_or_create(name=fields.pop("category", "Books"))
    product = Product.objects.create(
        sku=f"T-{number}",
        name=fields.pop("name", f"Product {number}"),
        price=Decimal(price),
        category=category,
        **fields,
    )
    Stock.objects.create(product=product, on_hand=on_hand)
    return product
