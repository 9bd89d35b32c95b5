"""The shapes of the public contract."""

from typing import Any

from rest_framework import serializers


class RecommendationSerializer(serializers.Serializer[Any]):
    """A product, and in how many orders it was bought together with something of the customer's."""

    product = serializers.IntegerField()
    together = serializers.IntegerField()


class PeriodSerializer(serializers.Serializer[Any]):
    """From which day to which, both included."""

    first = serializers.DateField()
    last = serializers.DateField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse a period that ends before it begins, or of years that ClickHouse has no days for."""
        if attrs["last"] < attrs["first"]:
            raise serializers.ValidationError({"last": ["is before `first`"]})
        if attrs["first"].year < 1900 or attrs["last"].year > 2299:
            raise serializers.ValidationError({"first": ["years are 1900 to 2299"]})
        return attrs


class RevenueSerializer(serializers.Serializer[Any]):
    """What was paid on a day and not cancelled afterwards."""

    day = serializers.DateField()
    orders = serializers.IntegerField()
    amount = serializers.CharField()
