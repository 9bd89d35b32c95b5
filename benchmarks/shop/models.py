"""One order of 17 columns of mixed types, as a monolith keeps it."""

from django.db import models
from django.db.models import Value
from django.db.models.functions import Now


class Order(models.Model):
    """What customers ordered; first and last name are kept beside it, so that the mapping has something to join."""

    public_id = models.UUIDField()
    customer_id = models.BigIntegerField()
    first_name = models.CharField(max_length=60, db_default=Value(""))
    last_name = models.CharField(max_length=60, db_default=Value(""))
    status = models.CharField(max_length=20)
    total = models.DecimalField(max_digits=12, decimal_places=2)
    discount = models.DecimalField(max_digits=12, decimal_places=2, null=True)
    currency = models.CharField(max_length=3)
    note = models.TextField(null=True)
    client_reference = models.CharField(max_length=64)
    shipping_address = models.JSONField()
    placed_at = models.DateTimeField()
    paid_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(db_default=Now())
    weight = models.FloatField()
    gift = models.BooleanField()

    class Meta:
        app_label = "shop"
        db_table = "bench_order"

    def __str__(self) -> str:
        return str(self.public_id)


class ServiceOrder(models.Model):
    """The same order as the service keeps it: the target table's 16 columns, for the loop that an ORM would write."""

    public_id = models.UUIDField()
    customer_id = models.BigIntegerField()
    customer_name = models.CharField(max_length=121)
    state = models.CharField(max_length=20)
    total_cents = models.BigIntegerField()
    discount_cents = models.BigIntegerField(null=True)
    currency = models.CharField(max_length=3)
    remark = models.TextField(null=True)
    reference = models.CharField(max_length=64)
    ship_to = models.JSONField()
    ordered_at = models.DateTimeField()
    paid_at = models.DateTimeField(null=True)
    modified_at = models.DateTimeField()
    weight = models.FloatField()
    gift = models.BooleanField()

    class Meta:
        app_label = "shop"
        db_table = "service_order"

    def __str__(self) -> str:
        return str(self.public_id)


class Handled(models.Model):
    """An event that the service has handled."""

    event = models.UUIDField(primary_key=True)

    class Meta:
        app_label = "shop"
        db_table = "bench_handled"

    def __str__(self) -> str:
        return str(self.event)
