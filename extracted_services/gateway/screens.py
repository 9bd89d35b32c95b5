"""The compositions behind the screens: what each asks of whom, and what it shows while somebody is away."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.http import HttpRequest

from migration_tools.composition.composing import Composed, compose
from migration_tools.composition.declaration import Composition, Part
from migration_tools.composition.fields import parse_fields
from migration_tools.conf import settings
from migration_tools.routing.identity.reading import COOKIE

SHOWN_ON_WEB = 10
SHOWN_ON_MOBILE = 3


def newest(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The first orders of the orders service's first page."""
    return list(page["results"][:SHOWN_ON_WEB])


def products_of(got: Mapping[str, Any]) -> Iterable[int]:
    """Ids of the products in the orders shown."""
    return [line["product"] for order in got["recent_orders"] for line in order["lines"]]


CUSTOMER = Part(name="customer", source="users", path="/api/accounts/me/", required=True, stale_seconds=600)
RECENT_ORDERS = Part(
    name="recent_orders", source="orders", path="/api/orders/", shape=newest, fallback=[], stale_seconds=600
)
PRODUCTS = Part(
    name="products", source="catalog", path="/api/products/", ids=products_of, after=("recent_orders",), fallback={}
)
RECOMMENDATIONS = Part(
    name="recommendations", source="recommendations", path="/api/recommendations/{customer}/", fallback=[]
)

DASHBOARD = Composition(
    "customer dashboard",
    [CUSTOMER, RECENT_ORDERS, PRODUCTS, RECOMMENDATIONS],
    deadline_seconds=settings().DEADLINE_SECONDS,
    calls_at_most=4,
)

# Service DX of the seeds: verify the user, take the orders, fetch the products. Whether the user exists is asked at the
# same time as what was ordered: its 404 is the whole answer's either way.
ORDERED_PRODUCTS = Composition(
    "products ordered by a user",
    [
        Part(name="user", source="users", path="/api/accounts/me/", required=True),
        Part(name="ordered", source="orders", path="/api/orders/products/", required=True),
        Part(
            name="products", source="catalog", path="/api/products/", after=("ordered",), fallback={},
            ids=lambda got: [row["product"] for row in got["ordered"]],
        ),
    ],
    deadline_seconds=settings().DEADLINE_SECONDS,
    calls_at_most=3,
)  # fmt: skip


def ask(composition: Composition, request: HttpRequest, *, fields: str | None = None) -> Composed:
    """Compose for whoever asks, with their identity on every call.

    Raises:
        BadFields: `fields` names a part that is not.
        PartFailed: a required part could not be had.
    """
    customer = str(request.user.pk)
    cookies = {name: request.COOKIES[name] for name in (COOKIE, "sessionid") if name in request.COOKIES}
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}
    for name in ("X-Correlation-ID", "traceparent"):
        if name in request.headers:
            headers[name] = request.headers[name]
    return compose(
        composition, {"customer": customer}, caller=customer, headers=headers, fields=parse_fields(fields, composition)
    )


def mobile(document: Mapping[str, Any]) -> dict[str, Any]:
    """The dashboard as a small screen shows it: the same data, less of it, and names where they are needed."""
    names = {int(number): product["name"] for number, product in document["products"].items()}
    return {
        "name": document["customer"]["name"],
        "orders": [
            {
                "id": order["id"],
                "status": order["status"],
                "total": f"{order['total']} {order['currency']}",
                "first": names.get(order["lines"][0]["product"]) if order["lines"] else None,
            }
            for order in document["recent_orders"][:SHOWN_ON_MOBILE]
        ],
        "partial": "_errors" in document,
    }


def ordered_products(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Products with their names and quantities; a product that the catalogue does not know has no name."""
    products = {int(number): product for number, product in document["products"].items()}
    return [
        {
            "product": row["product"],
            "name": products[row["product"]]["name"] if row["product"] in products else None,
            "quantity": row["quantity"],
        }
        for row in document["ordered"]
    ]
