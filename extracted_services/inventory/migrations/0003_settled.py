"""Which orders' movements in documents were told of."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("inventory_service", "0002_checkouts"),
    ]

    operations = [
        migrations.CreateModel(
            name="Settled",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("order_number", models.BigIntegerField()),
                (
                    "reason",
                    models.CharField(
                        choices=[("received", "Received"), ("ordered", "Ordered"), ("cancelled", "Cancelled")],
                        max_length=16,
                    ),
                ),
            ],
            options={
                "db_table": "depot_settled",
                "constraints": [models.UniqueConstraint(fields=("order_number", "reason"), name="depot_settled_once")],
            },
        ),
    ]
