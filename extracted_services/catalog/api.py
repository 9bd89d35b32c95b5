"""The public HTTP API of the catalog: the contract that the monolith serves, and a search of its own."""

from http import HTTPStatus
from typing import Any

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.permissions import SAFE_METHODS, AllowAny, BasePermission, IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from migration_tools.composition.batch import BadIds, parse_ids
from migration_tools.service.openapi import CSRF_TOKEN
from migration_tools.service.problems import described

from . import shelf
from .models import Product
from .search import Search, find
from .serializers import (
    FacetsSerializer,
    ProductChangeSerializer,
    ProductSerializer,
    ProductV2Serializer,
    SearchSerializer,
)

LARGEST_BIGINT = 2**63 - 1
PAGE = OpenApiParameter("page", int, description="which page, from 1")
PAGE_FIELDS: dict[str, Any] = {
    "count": serializers.IntegerField(),
    "next": serializers.URLField(allow_null=True),
    "previous": serializers.URLField(allow_null=True),
    "results": ProductSerializer(many=True),
}
PRODUCT = {"$ref": "#/components/schemas/Product"}
PAGE_OR_PRODUCTS = {
    "oneOf": [
        {
            "type": "object",
            "properties": {
                "count": {"type": "integer"},
                "next": {"type": ["string", "null"]},
                "previous": {"type": ["string", "null"]},
                "results": {"type": "array", "items": PRODUCT},
            },
            "required": ["count", "next", "previous", "results"],
        },
        {"type": "array", "items": PRODUCT},
    ]
}
CHANGE_PROBLEMS = described(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


class ProductPages(PageNumberPagination):
    """Pages of twenty, by number."""

    page_size = 20


class _OpenToRead(APIView):
    """Read by anybody, without asking who it is; changed by staff."""

    consistency = "strong"

    def get_authenticators(self) -> list[BaseAuthentication]:
        """Ask who it is only where it matters."""
        return [] if self.request is None or self.request.method in SAFE_METHODS else super().get_authenticators()

    def get_permissions(self) -> list[BasePermission]:
        """Let staff alone change."""
        return [AllowAny()] if self.request is None or self.request.method in SAFE_METHODS else [IsAdminUser()]


class ProductsView(_OpenToRead):
    """Everything on sale."""

    @extend_schema(
        operation_id="products_list",
        auth=[],
        parameters=[
            PAGE,
            OpenApiParameter("ids", str, description="these, on sale or not, at most a hundred at once"),
            OpenApiParameter("on_sale", str, enum=["true"], description="of those that `ids` names"),
        ],
        responses={200: PAGE_OR_PRODUCTS} | described(HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND),
    )
    def get(self, request: Request) -> Response:
        """List the products on sale, by number and page by page; or those that `ids` names, in one answer."""
        products = Product.objects.select_related("category").order_by("id")
        asked = request.query_params.get("ids")
        if asked is not None:
            found = products.filter(pk__in=_numbers(asked))
            if request.query_params.get("on_sale") == "true":
                found = found.filter(on_sale=True)
            return Response(ProductSerializer(found, many=True).data)
        pages = ProductPages()
        page = pages.paginate_queryset(products.filter(on_sale=True), request, view=self)
        return pages.get_paginated_response(ProductSerializer(page, many=True).data)


class SearchView(_OpenToRead):
    """Find products on sale."""

    @extend_schema(
        operation_id="products_search",
        auth=[],
        parameters=[SearchSerializer, PAGE],
        responses={
            200: inline_serializer(
                "SearchPage", {**PAGE_FIELDS, "facets": FacetsSerializer(), "by_likeness": serializers.BooleanField()}
            )
        }
        | described(HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND),
    )
    def get(self, request: Request) -> Response:
        """Find products by words, by likeness where nothing has the words; narrow down by category and price."""
        wanted = SearchSerializer(data=request.query_params)
        wanted.is_valid(raise_exception=True)
        asked = wanted.validated_data
        found = find(Search(words=asked["q"].strip(), category=asked["category"], band=asked["price"]))
        pages = ProductPages()
        page = pages.paginate_queryset(found.products, request, view=self)
        answer = pages.get_paginated_response(ProductSerializer(page, many=True).data)
        facets = {"category": found.categories, "price": found.bands}
        answer.data = {**answer.data, "facets": facets, "by_likeness": found.by_likeness}
        return answer


class ProductView(_OpenToRead):
    """One product, on sale or not."""

    @extend_schema(
        operation_id="products_read",
        auth=[],
        responses={200: ProductSerializer} | described(HTTPStatus.NOT_FOUND),
    )
    def get(self, request: Request, pk: int) -> Response:
        """Show one product."""
        product = Product.objects.select_related("category").filter(pk=_number(pk)).first()
        if product is None:
            raise _no_such_product(pk)
        return Response(ProductSerializer(product).data)

    @extend_schema(
        operation_id="products_change",
        parameters=[CSRF_TOKEN],
        request=ProductChangeSerializer,
        responses={200: ProductSerializer} | CHANGE_PROBLEMS,
    )
    def patch(self, request: Request, pk: int) -> Response:
        """Change a product: staff only."""
        wanted = ProductChangeSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        try:
            product = shelf.change(_number(pk), wanted.validated_data)
        except Product.DoesNotExist:
            raise _no_such_product(pk) from None
        return Response(ProductSerializer(product).data)


class ProductV2View(_OpenToRead):
    """One product, as version 2 shows it."""

    @extend_schema(
        operation_id="products_read_v2",
        auth=[],
        responses={200: ProductV2Serializer} | described(HTTPStatus.NOT_FOUND),
    )
    def get(self, request: Request, pk: int) -> Response:
        """Show one product with its price as one value; version 1 stays for those who know it."""
        product = Product.objects.select_related("category").filter(pk=_number(pk)).first()
        if product is None:
            raise _no_such_product(pk)
        return Response(ProductV2Serializer(product).data)


def _numbers(asked: str) -> list[int]:
    try:
        return [number for number in parse_ids(asked, int) if abs(number) <= LARGEST_BIGINT]
    except BadIds as error:
        raise ValidationError({"ids": [str(error)]}) from error


def _number(pk: int) -> int:
    if pk > LARGEST_BIGINT:
        raise _no_such_product(pk)
    return pk


def _no_such_product(pk: int) -> Http404:
    return Http404(f"there is no product {pk}; see /api/products/")
