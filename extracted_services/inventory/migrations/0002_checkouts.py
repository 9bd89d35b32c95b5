"""Reservations of checkouts: for an order, and fulfilled when it is placed."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("inventory_service", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="reservation",
            name="order_public_id",
            field=models.UUIDField(null=True, unique=True),
        ),
        migrations.AlterField(
            model_name="reservation",
            name="state",
            field=models.CharField(
                choices=[("held", "Held"), ("released", "Released"), ("fulfilled", "Fulfilled")],
                default="held",
                max_length=16,
            ),
        ),
    ]
