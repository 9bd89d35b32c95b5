"""The schema of the orders service: orders, their items, checkouts, a replica of the catalogue, a count per day."""

import datetime
import uuid

from django.db import connection, models

COUNT_PLACED = """
    INSERT INTO sales_dailycount AS counted (day, placed) VALUES (%s, 1)
    ON CONFLICT (day) DO UPDATE SET placed = counted.placed + 1
"""


class State(models.TextChoices):
    """Where an order is in its life; `placed → paid → shipped`, and `cancelled` from the first two."""

    PLACED = "placed"
    PAID = "paid"
    SHIPPED = "shipped"
    CANCELLED = "cancelled"


class Order(models.Model):
    """A purchase; money is in cents, and the customer's name is a copy taken when it was made."""

    public_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    customer_id = models.BigIntegerField()
    customer_name = models.TextField()
    state = models.CharField(max_length=16, choices=State, default=State.PLACED)
    total_cents = models.BigIntegerField()
    discount_cents = models.BigIntegerField(null=True)
    currency = models.CharField(max_length=3)
    remark = models.TextField(null=True)
    reference = models.CharField(max_length=64, default="")
    ship_to = models.JSONField()
    ordered_at = models.DateTimeField()
    paid_at = models.DateTimeField(null=True)
    modified_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "sales_order"
        indexes = [
            models.Index(fields=["customer_id", "-ordered_at", "-id"], name="sales_order_of_customer"),
            models.Index(fields=["reference"], name="sales_order_reference"),
        ]

    def __str__(self) -> str:
        return f"order {self.public_id} ({self.state})"


class OrderItem(models.Model):
    """One line of an order, hung on the order's public id; the product is known by number only."""

    order = models.ForeignKey(
        Order,
        to_field="public_id",
        db_column="order_public_id",
        on_delete=models.CASCADE,
        related_name="items",
    )
    product_id = models.BigIntegerField()
    qty = models.IntegerField()
    unit_cents = models.BigIntegerField()
    gift_note = models.TextField(null=True)

    class Meta:
        db_table = "sales_orderitem"

    def __str__(self) -> str:
        return f"{self.qty} of product {self.product_id}"


class CheckoutState(models.TextChoices):
    """Where a checkout is: `pending`, then `confirmed` or `cancelled`; `withdrawn` until what was done is undone."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    WITHDRAWN = "withdrawn"
    CANCELLED = "cancelled"


class Checkout(models.Model):
    """A purchase whose stock and money are being seen to; the service's own, and an order only once it is confirmed."""

    public_id = models.UUIDField(primary_key=True)
    # The number that the order will have; a checkout that is cancelled leaves a gap, as a rolled back insert does.
    order_number = models.BigIntegerField(null=True, unique=True)
    customer_id = models.BigIntegerField()
    customer_name = models.TextField()
    state = models.CharField(max_length=16, choices=CheckoutState, default=CheckoutState.PENDING)
    lines = models.JSONField()
    total_cents = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    remark = models.TextField(null=True)
    reference = models.CharField(max_length=64, default="")
    ship_to = models.JSONField()
    opened_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "sales_checkout"

    def __str__(self) -> str:
        return f"checkout {self.public_id} ({self.state})"


class Product(models.Model):
    """A replica of the monolith's catalogue, written by the toolkit's sync and only read here."""

    id = models.BigIntegerField(primary_key=True)
    sku = models.TextField()
    name = models.TextField()
    price_cents = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    active = models.BooleanField(default=True)

    class Meta:
        db_table = "sales_product"

    def __str__(self) -> str:
        return f"{self.sku} {self.name}"


class Customer(models.Model):
    """Which id a customer has and what they are called, as far as the users service has said; empty says it has not.

    A purchase locks the row while it copies the name into its order, and a renaming changes the row before the orders:
    whichever comes first, no order keeps a name that is older than the last renaming heard of.
    """

    id = models.BigIntegerField(primary_key=True)
    name = models.TextField(default="")
    public_id = models.UUIDField(null=True, unique=True)

    class Meta:
        db_table = "sales_customer"

    def __str__(self) -> str:
        return f"customer {self.id}"

    @staticmethod
    def called(customer_id: int, told: str) -> str:
        """The name to copy, `told` by the customer's token if nobody else has; call inside `atomic()`."""
        Customer.objects.bulk_create([Customer(id=customer_id)], ignore_conflicts=True)
        return Customer.objects.select_for_update(no_key=True).get(id=customer_id).name or told


class DailyCount(models.Model):
    """How many orders were placed on each day (UTC): a read model that shows exactly-once effects.

    The increment is deliberately not idempotent, so an event applied twice or not at all shows.
    """

    day = models.DateField(primary_key=True)
    placed = models.IntegerField(default=0)

    class Meta:
        db_table = "sales_dailycount"

    def __str__(self) -> str:
        return f"{self.day}: {self.placed}"

    @staticmethod
    def add_placed(moment: datetime.datetime) -> None:
        """Count one more order placed at `moment`; call inside `atomic()`, and last: it locks the day."""
        with connection.cursor() as cursor:
            cursor.execute(COUNT_PLACED, [moment.astimezone(datetime.UTC).date()])
