"""The shapes of the public contract: stock, deliveries and reservations."""

from collections import Counter
from typing import Any

from django.core.validators import ProhibitNullCharactersValidator
from rest_framework import serializers

from .models import ReservationState
from .ports import Reservation, ReservedLine, Shelf

LARGEST_BIGINT = 2**63 - 1
LARGEST_QUANTITY = 1_000_000


class StockSerializer(serializers.Serializer[Shelf]):
    """How many of a product there are, on both sides of the migration."""

    product = serializers.IntegerField(source="product_id")
    on_hand = serializers.IntegerField()


class DeliverySerializer(serializers.Serializer[Any]):
    """What arrived."""

    quantity = serializers.IntegerField(min_value=1, max_value=LARGEST_QUANTITY)


class ReservedLineSerializer(serializers.Serializer[ReservedLine]):
    """How much of which product."""

    product = serializers.IntegerField(source="product_id", min_value=1, max_value=LARGEST_BIGINT)
    quantity = serializers.IntegerField(min_value=1, max_value=LARGEST_QUANTITY)


class WantedReservationSerializer(serializers.Serializer[Any]):
    """What a customer asks to be kept."""

    reference = serializers.CharField(max_length=64, validators=[ProhibitNullCharactersValidator()])
    lines = serializers.ListField(child=ReservedLineSerializer(), min_length=1, max_length=100)

    def quantities(self) -> Counter[int]:
        """The quantities by product, several lines of one product summed up."""
        wanted: Counter[int] = Counter()
        for line in self.validated_data["lines"]:
            wanted[line["product_id"]] += line["quantity"]
        return wanted


class ReservationSerializer(serializers.Serializer[Reservation]):
    """A reservation as its customer sees it."""

    id = serializers.UUIDField(source="public_id")
    reference = serializers.CharField()
    state = serializers.ChoiceField(choices=ReservationState.choices)
    lines = ReservedLineSerializer(many=True)
