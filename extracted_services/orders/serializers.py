"""The shapes of the public contract: what a purchase takes and what an order looks like."""

import math
from collections.abc import Iterable
from typing import Any

from django.core.validators import ProhibitNullCharactersValidator
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import ProhibitSurrogateCharactersValidator

from migration_tools.service.money import CentsField

from .models import Checkout, CheckoutState, Order, OrderItem, Product, State
from .purchase import Line

LARGEST_BIGINT = 2**63 - 1
LARGEST_INTEGER = 2**31 - 1
DEEPEST_JSON = 64
LONGEST_TEXT = 2000


@extend_schema_field({"type": "object", "additionalProperties": True})
class AddressField(serializers.JSONField):
    """Any JSON object that PostgreSQL's jsonb can hold."""

    def to_internal_value(self, data: Any) -> Any:
        """Give the object, refusing what jsonb would: NUL, lone surrogates, infinities, endless nesting."""
        if not isinstance(data, dict):
            raise serializers.ValidationError("must be a JSON object")
        self._storable(data, DEEPEST_JSON)
        return data

    def _storable(self, value: Any, depth: int) -> None:
        if depth == 0:
            raise serializers.ValidationError(f"must be nested at most {DEEPEST_JSON} deep")
        if isinstance(value, str):
            ProhibitNullCharactersValidator()(value)
            ProhibitSurrogateCharactersValidator()(value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise serializers.ValidationError("numbers must be finite")
        elif isinstance(value, dict):
            for key, inner in value.items():
                self._storable(key, depth)
                self._storable(inner, depth - 1)
        elif isinstance(value, list):
            for inner in value:
                self._storable(inner, depth - 1)


class PurchaseLineSerializer(serializers.Serializer[Any]):
    """One wanted line."""

    product = serializers.IntegerField(min_value=1, max_value=LARGEST_BIGINT)
    quantity = serializers.IntegerField(min_value=1, max_value=LARGEST_INTEGER)
    gift_message = serializers.CharField(
        allow_null=True, allow_blank=True, default=None, max_length=LONGEST_TEXT, trim_whitespace=False
    )


class PurchaseSerializer(serializers.Serializer[Any]):
    """What a customer sends to buy."""

    client_reference = serializers.CharField(max_length=64, allow_blank=True, default="")
    note = serializers.CharField(
        allow_null=True, allow_blank=True, default=None, max_length=LONGEST_TEXT, trim_whitespace=False
    )
    shipping_address = AddressField(default=dict)
    lines = serializers.ListField(child=PurchaseLineSerializer(), min_length=1, max_length=100)

    def wanted(self) -> list[Line]:
        """Give the validated lines as the domain knows them."""
        return [Line(**line) for line in self.validated_data["lines"]]


class CustomerSerializer(serializers.Serializer[Order]):
    """Who ordered."""

    id = serializers.IntegerField(source="customer_id")
    name = serializers.CharField(source="customer_name")


class OrderLineSerializer(serializers.Serializer[OrderItem]):
    """One line of an order; the name is the product's of today, '' if the replica does not have it yet."""

    product = serializers.IntegerField(source="product_id")
    name = serializers.SerializerMethodField()
    quantity = serializers.IntegerField(source="qty")
    unit_price = CentsField(source="unit_cents")
    gift_message = serializers.CharField(source="gift_note", allow_null=True)

    def get_name(self, item: OrderItem) -> str:
        """Give the product's name out of the one query made for the whole page."""
        names: dict[int, str] = self.context["product_names"]
        return names.get(item.product_id, "")


class OrderSerializer(serializers.Serializer[Order]):
    """An order as the world sees it, on both sides of the migration."""

    id = serializers.UUIDField(source="public_id")
    status = serializers.ChoiceField(choices=State.choices, source="state")
    customer = CustomerSerializer(source="*")
    total = CentsField(source="total_cents")
    discount = CentsField(source="discount_cents", allow_null=True)
    currency = serializers.CharField()
    note = serializers.CharField(source="remark", allow_null=True)
    client_reference = serializers.CharField(source="reference", allow_blank=True)
    shipping_address = serializers.JSONField(source="ship_to")
    placed_at = serializers.DateTimeField(source="ordered_at")
    paid_at = serializers.DateTimeField(allow_null=True)
    lines = OrderLineSerializer(source="items", many=True)


class CheckoutLineSerializer(serializers.Serializer[Any]):
    """One line of a purchase on its way; the name as in an order's line."""

    product = serializers.IntegerField()
    name = serializers.CharField(allow_blank=True)
    quantity = serializers.IntegerField()


class CheckoutSerializer(serializers.Serializer[Checkout]):
    """A purchase on its way; under the same id it is an order once it is confirmed."""

    id = serializers.UUIDField(source="public_id")
    status = serializers.ChoiceField(choices=CheckoutState.choices, source="state")
    total = CentsField(source="total_cents")
    currency = serializers.CharField()
    opened_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    lines = serializers.SerializerMethodField()

    @extend_schema_field(CheckoutLineSerializer(many=True))
    def get_lines(self, made: Checkout) -> list[dict[str, Any]]:
        """Give products and quantities, names out of the one query made for all."""
        names: dict[int, str] = self.context["product_names"]
        return [
            {"product": line["product"], "name": names.get(line["product"], ""), "quantity": line["quantity"]}
            for line in made.lines
        ]


class OrderedProductSerializer(serializers.Serializer[Any]):
    """A product and how many of it the customer ever ordered."""

    product = serializers.IntegerField()
    name = serializers.CharField(allow_blank=True)
    quantity = serializers.IntegerField()


def product_names(product_ids: Iterable[int]) -> dict[int, str]:
    """Give the names of products, by one query."""
    return dict(Product.objects.filter(id__in=set(product_ids)).values_list("id", "name"))


def shown_checkouts(checkouts: Iterable[Checkout]) -> list[dict[str, Any]]:
    """Give checkouts in the contract's shape; names cost one query for all."""
    checkouts = list(checkouts)
    names = product_names(line["product"] for made in checkouts for line in made.lines)
    return CheckoutSerializer(checkouts, many=True, context={"product_names": names}).data


def shown(orders: Iterable[Order]) -> list[dict[str, Any]]:
    """Give orders in the contract's shape; their items must be prefetched, names cost one query for all."""
    orders = list(orders)
    names = product_names(item.product_id for order in orders for item in order.items.all())
    return OrderSerializer(orders, many=True, context={"product_names": names}).data
