"""How many of each product the shop has, and every change of that number."""

from __future__ import annotations

from django.db import models


class Stock(models.Model):
    """The quantity on hand of one product: the sum of its movements."""

    product = models.OneToOneField("catalog.Product", on_delete=models.CASCADE, related_name="stock")
    on_hand = models.IntegerField(default=0)


class Movement(models.Model):
    """One change of the stock, with the order that caused it."""

    class Reason(models.TextChoices):
        RECEIVED = "received"
        ORDERED = "ordered"
        CANCELLED = "cancelled"

    product = models.ForeignKey("catalog.Product", on_delete=models.CASCADE, related_name="movements")
    order = models.ForeignKey(
        "orders.Order", null=True, blank=True, on_delete=models.SET_NULL, related_name="movements"
    )
    delta = models.IntegerField()
    reason = models.CharField(max_length=16, choices=Reason.choices)
    created_at = models.DateTimeField(auto_now_add=True)
