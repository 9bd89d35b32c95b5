"""What the shop's pages and carts ask of the catalogue: the rows here, or its service once it has left.

Requests below /api/products/ go to the owner through the proxy. What else of the monolith shows products asks by
this seam; orders, which join them, leave first.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import httpx2
from django.conf import settings
from django.core.paginator import Page, Paginator

from legacy_monolith.accounts.directory import NotNow, client
from legacy_monolith.catalog.models import Category, Product
from migration_tools.composition.loader import LARGEST_BATCH
from migration_tools.seams import Seam, remote_instance

LARGEST_BIGINT = 2**63 - 1
PRODUCTS_A_PAGE = 20  # what a page of /api/products/ has, on both sides


class LocalProducts:
    """The ORM."""

    def page(self, wanted: str | None) -> Page[Product]:
        active = Product.objects.filter(active=True).select_related("category").order_by("id")
        return Paginator(active, PRODUCTS_A_PAGE).get_page(wanted)

    def on_sale(self, ids: Iterable[int]) -> dict[int, Product]:
        numbers = [each for each in ids if each <= LARGEST_BIGINT]
        found = Product.objects.filter(pk__in=numbers, active=True).select_related("category").order_by("id")
        return {product.pk: product for product in found}


class RemoteProducts:
    """The service's HTTP API.

    Raises:
        NotNow: it does not answer.
    """

    def page(self, wanted: str | None) -> Page[Product]:
        """As the paginator's get_page: what is no number means the first page, and one that is not there the last."""
        try:
            number = int(wanted or 1)
        except ValueError:
            number = 1
        told = self._asked(page=str(number)) if number > 0 else None
        told = told or self._asked(page="last") or {"count": 0, "results": []}
        pages: Any = Paginator(range(told["count"]), PRODUCTS_A_PAGE)  # for its numbers alone
        shown = number if 0 < number <= pages.num_pages else pages.num_pages
        return Page([_product(each) for each in told["results"]], shown, pages)

    def on_sale(self, ids: Iterable[int]) -> dict[int, Product]:
        wanted = sorted(ids)
        parts = [wanted[at : at + LARGEST_BATCH] for at in range(0, len(wanted), LARGEST_BATCH)]
        told = [each for part in parts for each in self._asked(ids=",".join(map(str, part)), on_sale="true") or ()]
        return {each["id"]: _product(each) for each in told}

    def _asked(self, **query: str) -> Any:
        """The JSON of an answer, None if there is no such page."""
        try:
            answer = client(settings.CATALOG_URL).get("", params=query)
        except httpx2.TransportError as error:
            raise NotNow("the catalogue does not answer; send the request again") from error
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        if not answer.is_success:
            raise NotNow(f"the catalogue answers {answer.status_code}; send the request again")
        return answer.json()


class Products(Seam):
    """Reads alone: staff change products below /api/products/."""

    context = "catalog"
    local = LocalProducts
    remote = RemoteProducts
    reads = ("page", "on_sale")


def _product(told: dict[str, Any]) -> Product:
    return remote_instance(Product, told | {"category": Category(name=told["category"])})
