"""The views of the read models as Django sees them: read only, made by migrate and strangle_rebuild."""

from django.db import models


class OrderSummary(models.Model):
    """One row an order, as it stands in a list."""

    order_id = models.UUIDField(primary_key=True)
    customer_id = models.BigIntegerField(null=True)
    customer_name = models.TextField(null=True)
    order_date = models.DateTimeField(null=True)
    total_amount = models.DecimalField(max_digits=20, decimal_places=2, null=True)
    currency = models.TextField(null=True)
    status = models.TextField(null=True)
    items_count = models.IntegerField(null=True)
    last_updated = models.DateTimeField(null=True)

    class Meta:
        managed = False
        db_table = "order_summary"


class OrderDetails(models.Model):
    """One row an order with its customer and its items."""

    order_id = models.UUIDField(primary_key=True)
    customer_id = models.BigIntegerField(null=True)
    customer_name = models.TextField(null=True)
    items = models.JSONField(null=True)
    order_total = models.DecimalField(max_digits=20, decimal_places=2, null=True)
    currency = models.TextField(null=True)
    order_status = models.TextField(null=True)

    class Meta:
        managed = False
        db_table = "order_details_view"


class UserOrders(models.Model):
    """One row a customer who ordered something."""

    customer_id = models.BigIntegerField(primary_key=True)
    name = models.TextField(null=True)
    orders_count = models.BigIntegerField(null=True)
    orders_total = models.DecimalField(max_digits=20, decimal_places=2, null=True)
    orders = models.JSONField(null=True)

    class Meta:
        managed = False
        db_table = "user_orders_view"


class Statement(models.Model):
    """One row a payer."""

    customer_id = models.BigIntegerField(primary_key=True)
    balance = models.DecimalField(max_digits=20, decimal_places=2, null=True)
    entries = models.JSONField(null=True)

    class Meta:
        managed = False
        db_table = "statement"


class FeedEntry(models.Model):
    """One row an event of an order."""

    event_id = models.UUIDField(primary_key=True)
    order_id = models.UUIDField(null=True)
    what = models.TextField(null=True)
    at = models.DateTimeField(null=True)
    customer_id = models.BigIntegerField(null=True)
    customer_name = models.TextField(null=True)

    class Meta:
        managed = False
        db_table = "feed"
