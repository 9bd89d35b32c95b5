"""The JSON API of the stock: what is on hand, and deliveries, which staff enter."""

from __future__ import annotations

from django.db.models import F
from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from legacy_monolith.inventory.models import Movement, Stock

GREATEST_ID = 2**63 - 1


class Delivery(serializers.Serializer):
    quantity = serializers.IntegerField(min_value=1, max_value=1_000_000)


class OnHand(APIView):
    def get(self, request: Request, product: int) -> Response:
        return Response(_on_hand(product))


class Deliveries(APIView):
    permission_classes = [IsAdminUser]

    def post(self, request: Request, product: int) -> Response:
        form = Delivery(data=request.data)
        form.is_valid(raise_exception=True)
        quantity = form.validated_data["quantity"]
        _on_hand(product)
        Stock.objects.filter(product_id=product).update(on_hand=F("on_hand") + quantity)
        Movement.objects.create(product_id=product, delta=quantity, reason=Movement.Reason.RECEIVED)
        return Response(_on_hand(product))


def _on_hand(product: int) -> dict[str, int]:
    stock = get_object_or_404(Stock, product_id=min(product, GREATEST_ID))
    return {"product": stock.product_id, "on_hand": stock.on_hand}
