"""The shapes of the public contract: what a product looks like, what a search takes and what it gives."""

from decimal import Decimal
from typing import Any

from django.core.validators import ProhibitNullCharactersValidator
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from migration_tools.service.money import CentsField, whole_cents

from .models import Product
from .search import BANDS

# What the monolith's numeric(10, 2) and varchar(200) can hold: a product beyond it could never be carried back.
LARGEST_PRICE = Decimal("99999999.99")
LONGEST_NAME = 200


@extend_schema_field({"type": "object", "additionalProperties": True})
class FeaturesField(serializers.JSONField):
    """What is said of a product, as its category likes."""


class ProductSerializer(serializers.Serializer[Product]):
    """A product as the world sees it, on both sides of the migration."""

    id = serializers.IntegerField()
    sku = serializers.CharField(source="code")
    name = serializers.CharField(source="title")
    price = CentsField(source="price_cents")
    currency = serializers.CharField()
    category = serializers.CharField(source="category.title")
    attributes = FeaturesField(source="features")


class MoneySerializer(serializers.Serializer[Product]):
    """An amount is worth nothing without its currency."""

    amount = CentsField(source="price_cents")
    currency = serializers.CharField()


class ProductV2Serializer(serializers.Serializer[Product]):
    """A product of version 2: its price is one value with its currency."""

    id = serializers.IntegerField()
    sku = serializers.CharField(source="code")
    name = serializers.CharField(source="title")
    price = MoneySerializer(source="*")
    category = serializers.CharField(source="category.title")
    attributes = FeaturesField(source="features")


class ProductChangeSerializer(serializers.Serializer[Any]):
    """What staff may change of a product; what is left out stays."""

    name = serializers.CharField(
        source="title", max_length=LONGEST_NAME, required=False, validators=[ProhibitNullCharactersValidator()]
    )
    price = serializers.DecimalField(
        source="price_cents", max_digits=10, decimal_places=2, min_value=Decimal(0), max_value=LARGEST_PRICE,
        required=False,
    )  # fmt: skip
    active = serializers.BooleanField(source="on_sale", required=False)

    def validate_price(self, value: Decimal) -> int:
        """Keep the price as cents."""
        return whole_cents(value)


class SearchSerializer(serializers.Serializer[Any]):
    """What a search takes."""

    q = serializers.CharField(
        max_length=200, allow_blank=True, default="", validators=[ProhibitNullCharactersValidator()]
    )
    category = serializers.CharField(
        max_length=200, allow_blank=True, default="", validators=[ProhibitNullCharactersValidator()]
    )
    price = serializers.ChoiceField(choices=[label for label, _, _ in BANDS], allow_blank=True, default="")


class FacetsSerializer(serializers.Serializer[Any]):
    """How many products are behind each choice."""

    category = serializers.DictField(child=serializers.IntegerField())
    price = serializers.DictField(child=serializers.IntegerField())
