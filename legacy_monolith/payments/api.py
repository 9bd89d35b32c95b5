"""The JSON API of payments: the customer's own, of the newest order first."""

from __future__ import annotations

from django.db.models import QuerySet
from rest_framework import generics, serializers
from rest_framework.permissions import IsAuthenticated

from legacy_monolith.payments.models import Payment


class PaymentSerializer(serializers.ModelSerializer):
    order = serializers.UUIDField(source="order_public_id")

    class Meta:
        model = Payment
        fields = ["order", "amount", "status"]


class PaymentList(generics.ListAPIView):
    permission_classes = [IsAuthenticated]
    serializer_class = PaymentSerializer

    def get_queryset(self) -> QuerySet[Payment]:
        return Payment.objects.filter(payer_id=self.request.user.pk, order_public_id__isnull=False).order_by(
            "-order_id"
        )
