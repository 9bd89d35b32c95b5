"""The JSON API of orders: purchase, list, read, pay, ship, cancel, products ordered."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet, Sum
from rest_framework import generics, serializers, status
from rest_framework.exceptions import NotFound
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from legacy_monolith.accounts.models import User
from legacy_monolith.inventory.stock import InsufficientStock
from legacy_monolith.orders import transitions
from legacy_monolith.orders.models import Order, OrderLine
from legacy_monolith.orders.purchase import Item, PurchaseRefused, purchase
from legacy_monolith.orders.representation import OrderRequest, OrderSerializer, represented
from legacy_monolith.orders.transitions import IllegalTransition
from legacy_monolith.problems import Conflict


class OrderList(generics.ListAPIView):
    permission_classes = [IsAuthenticated]
    serializer_class = OrderSerializer

    def get_queryset(self) -> QuerySet[Order]:
        return represented().filter(user=self.request.user).order_by("-placed_at", "-id")

    def post(self, request: Request) -> Response:
        form = OrderRequest(data=request.data)
        form.is_valid(raise_exception=True)
        fields: dict[str, Any] = form.validated_data
        items = [
            Item(product_id=line["product"], quantity=line["quantity"], gift_message=line["gift_message"])
            for line in fields.pop("lines")
        ]
        try:
            order = purchase(request.user, items, **fields)
        except PurchaseRefused as error:
            raise serializers.ValidationError({"lines": [str(error)]}) from error
        except InsufficientStock as error:
            raise Conflict(str(error)) from error
        return _representation(request.user, order.public_id, status.HTTP_201_CREATED)


class OrderDetail(APIView):
    permission_classes = [IsAuthenticated]

    def get(self, request: Request, public_id: uuid.UUID) -> Response:
        return _representation(request.user, public_id)


class OrderTransition(APIView):
    permission_classes = [IsAuthenticated]
    move: Callable[[User, uuid.UUID], Order] = staticmethod(transitions.pay)

    def post(self, request: Request, public_id: uuid.UUID) -> Response:
        try:
            self.move(request.user, public_id)
        except Order.DoesNotExist as error:
            raise _no_such_order(public_id) from error
        except IllegalTransition as error:
            raise Conflict(str(error)) from error
        return _representation(request.user, public_id)


class OrderedProducts(APIView):
    permission_classes = [IsAuthenticated]

    def get(self, request: Request) -> Response:
        lines = OrderLine.objects.filter(order__user=request.user)
        totals = lines.values("product_id", "product__name").annotate(total=Sum("quantity"))
        return Response(
            [
                {"product": row["product_id"], "name": row["product__name"], "quantity": row["total"]}
                for row in totals.order_by("product_id")
            ]
        )


def _representation(user: Any, public_id: uuid.UUID, code: int = status.HTTP_200_OK) -> Response:
    try:
        order = represented().get(user=user, public_id=public_id)
    except Order.DoesNotExist as error:
        raise _no_such_order(public_id) from error
    return Response(OrderSerializer(order).data, status=code)


def _no_such_order(public_id: uuid.UUID) -> NotFound:
    """In the words of the service that takes the orders over: customers see no difference."""
    return NotFound(f"you have no order {str(public_id)!r}; /api/orders/ lists yours")
