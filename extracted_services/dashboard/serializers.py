"""The shapes of the public contract: each is one view, column for column (strangle.E092 says where they part)."""

from typing import Any

from rest_framework import serializers

from migration_tools.projections.screens import screen

STATUS = [(step, step) for step in ("placed", "paid", "shipped", "cancelled")]
AMOUNT = {"max_digits": 20, "decimal_places": 2, "coerce_to_string": True, "allow_null": True}


@screen("order_summary")
class OrderSummarySerializer(serializers.Serializer[Any]):
    """An order in a list."""

    order_id = serializers.UUIDField()
    customer_id = serializers.IntegerField(allow_null=True)
    customer_name = serializers.CharField(allow_null=True, allow_blank=True)
    order_date = serializers.DateTimeField(allow_null=True)
    total_amount = serializers.DecimalField(**AMOUNT)
    currency = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(choices=STATUS, allow_null=True)
    items_count = serializers.IntegerField(allow_null=True)
    last_updated = serializers.DateTimeField(allow_null=True)


@screen("order_status")
class OrderProgressSerializer(serializers.Serializer[Any]):
    """How far an order is."""

    order_id = serializers.UUIDField()
    customer_id = serializers.IntegerField(allow_null=True)
    status = serializers.ChoiceField(choices=STATUS, allow_null=True)
    last_updated = serializers.DateTimeField(allow_null=True)


class ItemSerializer(serializers.Serializer[Any]):
    """One item of an order; names are '' until the catalogue has told them."""

    product = serializers.IntegerField()
    sku = serializers.CharField(allow_blank=True)
    name = serializers.CharField(allow_blank=True)
    quantity = serializers.IntegerField()


@screen("order_details_view")
class OrderDetailsSerializer(serializers.Serializer[Any]):
    """An order with its customer and its items."""

    order_id = serializers.UUIDField()
    customer_id = serializers.IntegerField(allow_null=True)
    customer_name = serializers.CharField(allow_null=True, allow_blank=True)
    items = ItemSerializer(many=True)
    order_total = serializers.DecimalField(**AMOUNT)
    currency = serializers.CharField(allow_null=True)
    order_status = serializers.ChoiceField(choices=STATUS, allow_null=True)


class OwnOrderSerializer(serializers.Serializer[Any]):
    """One of a customer's orders."""

    order_id = serializers.UUIDField()
    placed_at = serializers.DateTimeField(allow_null=True)
    total = serializers.DecimalField(**AMOUNT)
    currency = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(choices=STATUS, allow_null=True)


@screen("user_orders_view")
class UserOrdersSerializer(serializers.Serializer[Any]):
    """A customer with their orders."""

    customer_id = serializers.IntegerField()
    name = serializers.CharField(allow_null=True, allow_blank=True)
    orders_count = serializers.IntegerField()
    orders_total = serializers.DecimalField(**AMOUNT)
    orders = OwnOrderSerializer(many=True)


@screen("feed")
class FeedSerializer(serializers.Serializer[Any]):
    """Something that happened to an order."""

    event_id = serializers.UUIDField()
    order_id = serializers.UUIDField(allow_null=True)
    what = serializers.ChoiceField(choices=STATUS, allow_null=True)
    at = serializers.DateTimeField(allow_null=True)
    customer_id = serializers.IntegerField(allow_null=True)
    customer_name = serializers.CharField(allow_null=True, allow_blank=True)


class EntrySerializer(serializers.Serializer[Any]):
    """One entry of an account; a refund's amount is negative."""

    number = serializers.IntegerField()
    what = serializers.ChoiceField(choices=[(kind, kind) for kind in ("captured", "refunded", "carried")])
    order_number = serializers.IntegerField(allow_null=True)
    amount = serializers.DecimalField(**AMOUNT)


@screen("statement")
class StatementSerializer(serializers.Serializer[Any]):
    """A payer's account with its entries."""

    customer_id = serializers.IntegerField()
    balance = serializers.DecimalField(**AMOUNT)
    entries = EntrySerializer(many=True)
