"""The public HTTP API of orders: the same contract that the monolith serves."""

import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.db.models import Prefetch, QuerySet, Sum
from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from migration_tools.errors import IntakeClosed
from migration_tools.service.openapi import CSRF_TOKEN
from migration_tools.service.problems import Conflict, Unavailable, described

from . import checkout, purchase, sagas
from .models import Checkout, Order, OrderItem
from .serializers import (
    CheckoutSerializer,
    OrderedProductSerializer,
    OrderSerializer,
    PurchaseSerializer,
    product_names,
    shown,
    shown_checkouts,
)

CHECKOUTS_SHOWN = 20

READ_PROBLEMS = described(HTTPStatus.UNAUTHORIZED)
FIND_PROBLEMS = described(HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND)
PLACE_PROBLEMS = described(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
MOVE_PROBLEMS = described(
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
ORDER_PAGE = inline_serializer(
    "OrderPage",
    {
        "count": serializers.IntegerField(),
        "next": serializers.URLField(allow_null=True),
        "previous": serializers.URLField(allow_null=True),
        "results": OrderSerializer(many=True),
    },
)


class OrderPages(PageNumberPagination):
    """Pages of twenty, by number."""

    page_size = 20


class OrdersView(APIView):
    """The customer's orders: read them page by page, or place one."""

    consistency = "strong"

    @extend_schema(
        operation_id="orders_list",
        parameters=[OpenApiParameter("page", int, description="which page, from 1")],
        responses={200: ORDER_PAGE} | FIND_PROBLEMS,
    )
    def get(self, request: Request) -> Response:
        """List the customer's orders, newest first."""
        pages = OrderPages()
        orders = _orders_of(request).order_by("-ordered_at", "-id")
        page = pages.paginate_queryset(orders, request, view=self)
        return pages.get_paginated_response(shown(page or []))

    @extend_schema(
        operation_id="orders_place",
        parameters=[CSRF_TOKEN],
        request=PurchaseSerializer,
        responses={201: OrderSerializer} | PLACE_PROBLEMS,
    )
    def post(self, request: Request) -> Response:
        """Place an order."""
        try:
            order = purchase.place(_wanted(request))
        except purchase.PurchaseRefused as refusal:
            raise ValidationError({"lines": [str(refusal)]}) from refusal
        return Response(_one(request, order.public_id), status=HTTPStatus.CREATED)


class OrderView(APIView):
    """One order of the customer."""

    consistency = "strong"

    @extend_schema(operation_id="orders_read", responses={200: OrderSerializer} | FIND_PROBLEMS)
    def get(self, request: Request, public_id: uuid.UUID) -> Response:
        """Show one order."""
        return Response(_one(request, public_id))


def _described(operation_id: str, description: str) -> Callable[[Any], Any]:
    return extend_schema(
        operation_id=operation_id,
        description=description,
        parameters=[CSRF_TOKEN],
        request=None,
        responses={200: OrderSerializer} | MOVE_PROBLEMS,
    )


class _TransitionView(APIView):
    """Move one order of the customer along; repeating a transition already made changes nothing."""

    consistency = "strong"

    transition: Callable[[int, uuid.UUID], Order]

    def post(self, request: Request, public_id: uuid.UUID) -> Response:
        """Make the transition and show the order."""
        try:
            type(self).transition(request.user.pk, public_id)
        except Order.DoesNotExist:
            raise _no_such_order(public_id) from None
        except purchase.IllegalTransition as refusal:
            raise Conflict(str(refusal)) from refusal
        return Response(_one(request, public_id))


@extend_schema_view(post=_described("orders_pay", "Pay a placed order; repeated, it changes nothing."))
class PayView(_TransitionView):
    """Pay an order."""

    transition = staticmethod(purchase.pay)


@extend_schema_view(post=_described("orders_ship", "Ship a paid order; repeated, it changes nothing."))
class ShipView(_TransitionView):
    """Ship an order."""

    transition = staticmethod(purchase.ship)


@extend_schema_view(
    post=_described("orders_cancel", "Cancel an order that is placed or paid; repeated, it changes nothing.")
)
class CancelView(_TransitionView):
    """Cancel an order."""

    transition = staticmethod(purchase.cancel)


class CheckoutsView(APIView):
    """Purchases that become orders only when their stock is reserved and their money is taken."""

    consistency = "strong"

    @extend_schema(operation_id="checkouts_list", responses={200: CheckoutSerializer(many=True)} | READ_PROBLEMS)
    def get(self, request: Request) -> Response:
        """List the customer's last twenty, newest first: what is pending, and what became of the others."""
        mine = Checkout.objects.filter(customer_id=request.user.pk).order_by("-opened_at", "public_id")
        return Response(shown_checkouts(mine[:CHECKOUTS_SHOWN]))

    @extend_schema(
        operation_id="checkouts_open",
        parameters=[CSRF_TOKEN],
        request=PurchaseSerializer,
        responses={202: CheckoutSerializer} | PLACE_PROBLEMS,
    )
    def post(self, request: Request) -> Response:
        """Open a checkout; it is pending until it is confirmed, and an order under the same id then, or cancelled."""
        try:
            made = sagas.buy(_wanted(request))
        except purchase.PurchaseRefused as refusal:
            raise ValidationError({"lines": [str(refusal)]}) from refusal
        except IntakeClosed as refusal:
            raise Unavailable(str(refusal)) from refusal
        return Response(shown_checkouts([made])[0], status=HTTPStatus.ACCEPTED)


class CheckoutView(APIView):
    """One checkout of the customer."""

    consistency = "strong"

    @extend_schema(operation_id="checkouts_read", responses={200: CheckoutSerializer} | FIND_PROBLEMS)
    def get(self, request: Request, public_id: uuid.UUID) -> Response:
        """Show where it is."""
        try:
            made = Checkout.objects.get(customer_id=request.user.pk, public_id=public_id)
        except Checkout.DoesNotExist:
            raise _no_such_checkout(public_id) from None
        return Response(shown_checkouts([made])[0])


class WithdrawView(APIView):
    """One checkout of the customer, which they do not want any more."""

    consistency = "strong"

    @extend_schema(
        operation_id="checkouts_withdraw",
        parameters=[CSRF_TOKEN],
        request=None,
        responses={200: CheckoutSerializer} | MOVE_PROBLEMS,
    )
    def post(self, request: Request, public_id: uuid.UUID) -> Response:
        """Withdraw a pending checkout; repeated, it changes nothing."""
        try:
            made = checkout.withdraw(request.user.pk, public_id)
        except Checkout.DoesNotExist:
            raise _no_such_checkout(public_id) from None
        except checkout.TooLate as refusal:
            raise Conflict(str(refusal)) from refusal
        return Response(shown_checkouts([made])[0])


class OrderedProductsView(APIView):
    """What the customer ever ordered."""

    consistency = "strong"

    @extend_schema(operation_id="orders_products", responses={200: OrderedProductSerializer(many=True)} | READ_PROBLEMS)
    def get(self, request: Request) -> Response:
        """Sum the ordered quantities by product, sorted by product id."""
        sums = dict(
            OrderItem.objects.filter(order__customer_id=request.user.pk)
            .values_list("product_id")
            .annotate(quantity=Sum("qty"))
            .order_by("product_id")
        )
        names = product_names(sums)
        rows: list[dict[str, Any]] = [
            {"product": product, "name": names.get(product, ""), "quantity": quantity}
            for product, quantity in sums.items()
        ]
        return Response(OrderedProductSerializer(rows, many=True).data)


def _wanted(request: Request) -> purchase.Purchase:
    wanted = PurchaseSerializer(data=request.data)
    wanted.is_valid(raise_exception=True)
    return purchase.Purchase(
        customer_id=request.user.pk,
        customer_name=request.user.name,
        lines=wanted.wanted(),
        shipping_address=wanted.validated_data["shipping_address"],
        client_reference=wanted.validated_data["client_reference"],
        note=wanted.validated_data["note"],
    )


def _orders_of(request: Request) -> QuerySet[Order]:
    items = Prefetch("items", queryset=OrderItem.objects.order_by("id"))
    return Order.objects.filter(customer_id=request.user.pk).prefetch_related(items)


def _one(request: Request, public_id: uuid.UUID) -> dict[str, Any]:
    try:
        order = _orders_of(request).get(public_id=public_id)
    except Order.DoesNotExist:
        raise _no_such_order(public_id) from None
    return shown([order])[0]


def _no_such_order(public_id: uuid.UUID) -> Http404:
    return Http404(f"you have no order {str(public_id)!r}; /api/orders/ lists yours")


def _no_such_checkout(public_id: uuid.UUID) -> Http404:
    return Http404(f"you have no checkout {str(public_id)!r}; open one at /api/orders/checkouts/")
