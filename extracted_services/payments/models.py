"""The schema of the payments service: one payment an order, in cents."""

from django.db import models


class Status(models.TextChoices):
    """Where a payment is in its life: authorised with the order, captured when it is paid, refunded when cancelled."""

    AUTHORISED = "authorised"
    CAPTURED = "captured"
    REFUNDED = "refunded"


class Payment(models.Model):
    """The money of one order; whose it is is known of orders placed since the shop tells."""

    order_number = models.BigIntegerField(db_index=True)
    # Copies of what the order says, so that nobody has to ask it. Orders of before have none.
    order_public_id = models.UUIDField(null=True)
    payer_id = models.BigIntegerField(null=True)
    amount_cents = models.BigIntegerField()
    status = models.CharField(max_length=16, choices=Status, default=Status.AUTHORISED)
    authorised_at = models.DateTimeField()
    changed_at = models.DateTimeField()

    class Meta:
        db_table = "billing_payment"
        indexes = [models.Index(fields=["payer_id", "-id"], name="billing_payment_of_payer")]

    def __str__(self) -> str:
        return f"{self.amount_cents} cents for order {self.order_number} ({self.status})"
