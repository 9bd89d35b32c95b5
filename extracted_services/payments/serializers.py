"""The shapes of the public contract: what a payment looks like."""

from rest_framework import serializers

from migration_tools.service.money import CentsField

from .models import Payment, Status


class PaymentSerializer(serializers.Serializer[Payment]):
    """A payment as its payer sees it, on both sides of the migration."""

    order = serializers.UUIDField(source="order_public_id")
    amount = CentsField(source="amount_cents")
    status = serializers.ChoiceField(choices=Status.choices)
