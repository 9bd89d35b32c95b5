"""The payment of an order."""

from __future__ import annotations

from django.db import models


class Payment(models.Model):
    """Money authorised when an order is placed, captured when it is paid, refunded when cancelled."""

    class Status(models.TextChoices):
        AUTHORISED = "authorised"
        CAPTURED = "captured"
        REFUNDED = "refunded"

    order = models.ForeignKey("orders.Order", on_delete=models.CASCADE, related_name="payments")
    # Copies of what the order says, for the day on which payments stand alone; payments of before have none.
    order_public_id = models.UUIDField(null=True, blank=True)
    payer_id = models.BigIntegerField(null=True, blank=True)
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.AUTHORISED)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
