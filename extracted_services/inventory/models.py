"""The schema of the inventory service: what is on hand, what is reserved, and every change."""

import uuid

from django.db import models


class Stock(models.Model):
    """How many of a product are on hand, and how many of those are promised to somebody.

    Sales that have happened elsewhere may take `on_hand` below zero: it is reordered. A reservation never promises more
    than there is.
    """

    product_id = models.BigIntegerField(unique=True)
    on_hand = models.IntegerField(default=0)
    # Of the service alone: the monolith knows no reservations.
    reserved = models.IntegerField(default=0, db_default=0)

    class Meta:
        db_table = "depot_stock"
        constraints = [
            models.CheckConstraint(condition=models.Q(reserved__gte=0), name="depot_stock_reserved_not_negative")
        ]

    def __str__(self) -> str:
        return f"{self.on_hand} of product {self.product_id}"


class Reason(models.TextChoices):
    """Why the stock changed."""

    RECEIVED = "received"
    ORDERED = "ordered"
    CANCELLED = "cancelled"


class Movement(models.Model):
    """One change of the stock, with the number of the order that caused it; the stock is the sum of these."""

    product_id = models.BigIntegerField(db_index=True)
    order_number = models.BigIntegerField(null=True)
    quantity = models.IntegerField()
    reason = models.CharField(max_length=16, choices=Reason)
    moved_at = models.DateTimeField()

    class Meta:
        db_table = "depot_movement"
        indexes = [models.Index(fields=["order_number", "reason"], name="depot_movement_of_order")]

    def __str__(self) -> str:
        return f"{self.quantity:+} of product {self.product_id} ({self.reason})"


class ReservationState(models.TextChoices):
    """Where a reservation is in its life."""

    HELD = "held"
    RELEASED = "released"
    FULFILLED = "fulfilled"


class Reservation(models.Model):
    """Products promised to a customer; asked for again under the same reference, it is the same one."""

    public_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    customer_id = models.BigIntegerField()
    reference = models.CharField(max_length=64)
    state = models.CharField(max_length=16, choices=ReservationState, default=ReservationState.HELD)
    # A reservation of a checkout: the order that it will be. Its customer cannot release it.
    order_public_id = models.UUIDField(null=True, unique=True)
    made_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "depot_reservation"
        constraints = [
            models.UniqueConstraint(fields=["customer_id", "reference"], name="depot_reservation_of_reference")
        ]

    def __str__(self) -> str:
        return f"reservation {self.public_id} ({self.state})"


class ReservedLine(models.Model):
    """How much of which product a reservation promises."""

    reservation = models.ForeignKey(Reservation, on_delete=models.CASCADE, related_name="lines")
    product_id = models.BigIntegerField()
    quantity = models.IntegerField()

    class Meta:
        db_table = "depot_reservedline"

    def __str__(self) -> str:
        return f"{self.quantity} of product {self.product_id}"


class Settled(models.Model):
    """That an order's products were moved in documents was told: inserted by whoever tells, in the same transaction.

    Of a stock in rows the movements say it themselves.
    """

    order_number = models.BigIntegerField()
    reason = models.CharField(max_length=16, choices=Reason)

    class Meta:
        db_table = "depot_settled"
        constraints = [models.UniqueConstraint(fields=["order_number", "reason"], name="depot_settled_once")]

    def __str__(self) -> str:
        return f"order {self.order_number} ({self.reason})"
