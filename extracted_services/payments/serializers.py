"""The shapes of the public contract: what a payment and an account look like."""

from typing import Any

from rest_framework import serializers

from migration_tools.service.money import CentsField

from .aggregates import Account
from .models import Payment, Status


class PaymentSerializer(serializers.Serializer[Payment]):
    """A payment as its payer sees it, on both sides of the migration."""

    order = serializers.UUIDField(source="order_public_id")
    amount = CentsField(source="amount_cents")
    status = serializers.ChoiceField(choices=Status.choices)


class MomentSerializer(serializers.Serializer[Any]):
    """As of when an account is asked for; now if it is not said."""

    as_of = serializers.DateTimeField(required=False, help_text="as it was at this moment")


class LimitSerializer(serializers.Serializer[Any]):
    """How much may be taken of a payer; null: as much as they buy for."""

    limit = serializers.DecimalField(max_digits=12, decimal_places=2, min_value=0, allow_null=True)


class AccountSerializer(serializers.Serializer[Account]):
    """What was taken of a payer and not given back, and how often that changed."""

    balance = serializers.DecimalField(max_digits=20, decimal_places=2)
    limit = serializers.DecimalField(max_digits=12, decimal_places=2, allow_null=True, source="most")
    version = serializers.IntegerField()
