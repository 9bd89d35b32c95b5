"""Oscar's rows and its customers: a catalogue, and people who browse and check out by oscar's own views."""

import re
from decimal import Decimal
from itertools import count
from typing import Any

from django.contrib.auth import get_user_model
from django.test import Client
from oscar.core.loading import get_model

_numbers = count(1)


def stock_the_shop(products: int = 5) -> list[Any]:
    """A country, a tree of categories, and products with stock."""
    get_model("address", "Country").objects.get_or_create(
        iso_3166_1_a2="GB",
        defaults={"name": "United Kingdom", "printable_name": "United Kingdom", "is_shipping_country": True},
    )
    category = get_model("catalogue", "Category").add_root(name="Books").add_child(name="Novels")
    kind = get_model("catalogue", "ProductClass").objects.create(name="Book", track_stock=True)
    partner = get_model("partner", "Partner").objects.create(name="Wholesale")
    made = []
    for number in range(products):
        product = get_model("catalogue", "Product").objects.create(
            title=f"Book {number}", product_class=kind, upc=f"upc{number}"
        )
        get_model("catalogue", "ProductCategory").objects.create(product=product, category=category)
        get_model("partner", "StockRecord").objects.create(
            product=product, partner=partner, partner_sku=f"sku{number}", price=Decimal("9.99"), num_in_stock=1000
        )
        made.append(product)
    return made


class Customer:
    """Somebody with a browser, who keeps cookies and follows redirects."""

    def __init__(self) -> None:
        self.client = Client()
        self.email = f"reader{next(_numbers)}@example.com"

    def get(self, path: str) -> str:
        answer = self.client.get(path, follow=True)
        assert answer.status_code == 200, (path, answer.status_code)
        return answer.content.decode()

    def post(self, path: str, **fields: Any) -> str:
        answer = self.client.post(path, fields, follow=True)
        assert answer.status_code == 200, (path, answer.status_code)
        return answer.content.decode()

    def register(self) -> None:
        self.post(
            "/accounts/login/",
            **{
                "registration-email": self.email,
                "registration-password1": "a long enough phrase",
                "registration-password2": "a long enough phrase",
                "registration_submit": "Register",
            },
        )
        assert get_user_model().objects.filter(email=self.email).exists()

    def browse(self) -> None:
        """The catalogue, one product, a search."""
        page = self.get("/catalogue/")
        link = re.search(r'href="(/catalogue/[^"]+_\d+/)"', page)
        assert link is not None
        self.get(link.group(1))
        self.get("/search/?q=Book")

    def buy(self, product: Any, quantity: int = 1) -> str:
        """Fill the basket and go through every step of the checkout; give the order's number."""
        self.post(f"/basket/add/{product.pk}/", quantity=quantity)
        self.get("/basket/")
        self.get("/checkout/")
        address = {
            "first_name": "Ada",
            "last_name": "Lovelace",
            "line1": "1 Square",
            "line4": "London",
            "postcode": "N1 9RT",
        }
        self.post("/checkout/shipping-address/", country="GB", **address)
        self.get("/checkout/payment-method/")
        self.get("/checkout/payment-details/")
        self.post("/checkout/preview/")
        page = self.post("/checkout/preview/", action="place_order")
        number = re.search(r"\b(1\d{5})\b", re.sub(r"<[^>]+>", " ", page))
        assert number is not None, page[:4000]
        return number.group(1)
