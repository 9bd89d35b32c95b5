"""The first schema of the orders service."""

import uuid

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="DailyCount",
            fields=[
                ("day", models.DateField(primary_key=True, serialize=False)),
                ("placed", models.IntegerField(default=0)),
            ],
            options={
                "db_table": "sales_dailycount",
            },
        ),
        migrations.CreateModel(
            name="Product",
            fields=[
                ("id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("sku", models.TextField()),
                ("name", models.TextField()),
                ("price_cents", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("active", models.BooleanField(default=True)),
            ],
            options={
                "db_table": "sales_product",
            },
        ),
        migrations.CreateModel(
            name="Order",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("public_id", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ("customer_id", models.BigIntegerField()),
                ("customer_name", models.TextField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("placed", "Placed"),
                            ("paid", "Paid"),
                            ("shipped", "Shipped"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="placed",
                        max_length=16,
                    ),
                ),
                ("total_cents", models.BigIntegerField()),
                ("discount_cents", models.BigIntegerField(null=True)),
                ("currency", models.CharField(max_length=3)),
                ("remark", models.TextField(null=True)),
                ("reference", models.CharField(default="", max_length=64)),
                ("ship_to", models.JSONField()),
                ("ordered_at", models.DateTimeField()),
                ("paid_at", models.DateTimeField(null=True)),
                ("modified_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "db_table": "sales_order",
                "indexes": [
                    models.Index(fields=["customer_id", "-ordered_at", "-id"], name="sales_order_of_customer"),
                    models.Index(fields=["reference"], name="sales_order_reference"),
                ],
            },
        ),
        migrations.CreateModel(
            name="OrderItem",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("product_id", models.BigIntegerField()),
                ("qty", models.IntegerField()),
                ("unit_cents", models.BigIntegerField()),
                ("gift_note", models.TextField(null=True)),
                (
                    "order",
                    models.ForeignKey(
                        db_column="order_public_id",
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="items",
                        to="orders_service.order",
                        to_field="public_id",
                    ),
                ),
            ],
            options={
                "db_table": "sales_orderitem",
            },
        ),
    ]
