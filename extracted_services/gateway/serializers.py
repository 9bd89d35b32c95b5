"""The shapes of the gateway's answers, for its OpenAPI document."""

from typing import Any

from rest_framework import serializers

from migration_tools.service.problems import ProblemSerializer


class PartProblemSerializer(ProblemSerializer):
    """Which part of an answer is missing or old, and why."""

    part = serializers.CharField()
    source = serializers.CharField()
    outcome = serializers.CharField()


class DashboardSerializer(serializers.Serializer[Any]):
    """The customer's dashboard; parts that were not asked for are missing."""

    customer = serializers.DictField(required=False)
    recent_orders = serializers.ListField(child=serializers.DictField(), required=False)
    products = serializers.DictField(required=False)
    recommendations = serializers.ListField(required=False)
    _errors = PartProblemSerializer(many=True, required=False)
    _stale = serializers.DictField(child=serializers.FloatField(), required=False)


class MobileOrderSerializer(serializers.Serializer[Any]):
    """One order on a small screen."""

    id = serializers.CharField()
    status = serializers.CharField()
    total = serializers.CharField()
    first = serializers.CharField(allow_null=True)


class MobileSerializer(serializers.Serializer[Any]):
    """The dashboard on a small screen."""

    name = serializers.CharField()
    orders = MobileOrderSerializer(many=True)
    partial = serializers.BooleanField()


class OrderedProductSerializer(serializers.Serializer[Any]):
    """A product and how many of it the user ever ordered; without a name if the catalogue could not tell."""

    product = serializers.IntegerField()
    name = serializers.CharField(allow_null=True)
    quantity = serializers.IntegerField()


class OrderedProductsSerializer(serializers.Serializer[Any]):
    """Products ordered by a user, and what is missing from them."""

    products = OrderedProductSerializer(many=True)
    as_of = serializers.DateTimeField(allow_null=True)
    _errors = PartProblemSerializer(many=True, required=False)
