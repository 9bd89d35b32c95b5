"""Checkouts: a purchase that is pending until stock and money are seen to."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orders_service", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Checkout",
            fields=[
                ("public_id", models.UUIDField(primary_key=True, serialize=False)),
                ("order_number", models.BigIntegerField(null=True, unique=True)),
                ("customer_id", models.BigIntegerField()),
                ("customer_name", models.TextField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("confirmed", "Confirmed"),
                            ("withdrawn", "Withdrawn"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="pending",
                        max_length=16,
                    ),
                ),
                ("lines", models.JSONField()),
                ("total_cents", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("remark", models.TextField(null=True)),
                ("reference", models.CharField(default="", max_length=64)),
                ("ship_to", models.JSONField()),
                ("opened_at", models.DateTimeField(auto_now_add=True)),
                ("ended_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "sales_checkout",
            },
        ),
    ]
