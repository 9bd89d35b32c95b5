"""The first schema of the inventory service."""

import uuid

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Movement",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("product_id", models.BigIntegerField(db_index=True)),
                ("order_number", models.BigIntegerField(null=True)),
                ("quantity", models.IntegerField()),
                (
                    "reason",
                    models.CharField(
                        choices=[("received", "Received"), ("ordered", "Ordered"), ("cancelled", "Cancelled")],
                        max_length=16,
                    ),
                ),
                ("moved_at", models.DateTimeField()),
            ],
            options={
                "db_table": "depot_movement",
                "indexes": [models.Index(fields=["order_number", "reason"], name="depot_movement_of_order")],
            },
        ),
        migrations.CreateModel(
            name="Reservation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("public_id", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ("customer_id", models.BigIntegerField()),
                ("reference", models.CharField(max_length=64)),
                (
                    "state",
                    models.CharField(
                        choices=[("held", "Held"), ("released", "Released")], default="held", max_length=16
                    ),
                ),
                ("made_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "db_table": "depot_reservation",
                "constraints": [
                    models.UniqueConstraint(fields=("customer_id", "reference"), name="depot_reservation_of_reference")
                ],
            },
        ),
        migrations.CreateModel(
            name="ReservedLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("product_id", models.BigIntegerField()),
                ("quantity", models.IntegerField()),
                (
                    "reservation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="lines",
                        to="inventory_service.reservation",
                    ),
                ),
            ],
            options={
                "db_table": "depot_reservedline",
            },
        ),
        migrations.CreateModel(
            name="Stock",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("product_id", models.BigIntegerField(unique=True)),
                ("on_hand", models.IntegerField(default=0)),
                ("reserved", models.IntegerField(db_default=0, default=0)),
            ],
            options={
                "db_table": "depot_stock",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("reserved__gte", 0)), name="depot_stock_reserved_not_negative"
                    )
                ],
            },
        ),
    ]
