"""Orders as JSON: what a client may send and what it gets."""

from __future__ import annotations

import math
from typing import Any

from django.db.models import Prefetch, QuerySet
from rest_framework import serializers

from legacy_monolith.orders.models import Order, OrderLine

GREATEST_ID = 2**63 - 1
GREATEST_QUANTITY = 2**31 - 1


class LineRequest(serializers.Serializer):
    product = serializers.IntegerField(min_value=1, max_value=GREATEST_ID)
    quantity = serializers.IntegerField(min_value=1, max_value=GREATEST_QUANTITY)
    gift_message = serializers.CharField(
        allow_null=True, allow_blank=True, default=None, max_length=2000, trim_whitespace=False
    )


class OrderRequest(serializers.Serializer):
    client_reference = serializers.CharField(max_length=64, allow_blank=True, default="")
    note = serializers.CharField(
        allow_null=True, allow_blank=True, default=None, max_length=2000, trim_whitespace=False
    )
    shipping_address = serializers.DictField(child=serializers.JSONField(allow_null=True), default=dict)
    lines = serializers.ListField(child=LineRequest(), min_length=1, max_length=100)

    def validate_shipping_address(self, value: dict[str, Any]) -> dict[str, Any]:
        _refuse_what_jsonb_cannot_hold(value)
        return value


class CustomerSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()


class LineSerializer(serializers.Serializer):
    product = serializers.IntegerField(source="product_id")
    name = serializers.CharField(source="product.name")
    quantity = serializers.IntegerField()
    unit_price = serializers.DecimalField(max_digits=10, decimal_places=2)
    gift_message = serializers.CharField(allow_null=True)


class OrderSerializer(serializers.Serializer):
    id = serializers.UUIDField(source="public_id")
    status = serializers.CharField()
    customer = CustomerSerializer(source="user")
    total = serializers.DecimalField(max_digits=12, decimal_places=2)
    discount = serializers.DecimalField(max_digits=12, decimal_places=2, allow_null=True)
    currency = serializers.CharField()
    note = serializers.CharField(allow_null=True)
    client_reference = serializers.CharField()
    shipping_address = serializers.JSONField()
    placed_at = serializers.DateTimeField()
    paid_at = serializers.DateTimeField(allow_null=True)
    lines = LineSerializer(many=True)


def represented() -> QuerySet[Order]:
    """Select orders with all that their representation needs, in a fixed number of queries."""
    lines = OrderLine.objects.select_related("product").order_by("id")
    return Order.objects.select_related("user").prefetch_related(Prefetch("lines", queryset=lines))


def _refuse_what_jsonb_cannot_hold(value: Any) -> None:
    if isinstance(value, dict):
        for key, member in value.items():
            _refuse_what_jsonb_cannot_hold(key)
            _refuse_what_jsonb_cannot_hold(member)
    elif isinstance(value, list):
        for member in value:
            _refuse_what_jsonb_cannot_hold(member)
    elif isinstance(value, float) and not math.isfinite(value):
        raise serializers.ValidationError("a number is too great to be stored")
    elif isinstance(value, str) and ("\0" in value or any("\ud800" <= char <= "\udfff" for char in value)):
        raise serializers.ValidationError("text must not hold NUL or half a surrogate pair")
