"""The view of statements, read only; its read model makes it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("dashboard_service", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Statement",
            fields=[
                ("customer_id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("balance", models.DecimalField(decimal_places=2, max_digits=20, null=True)),
                ("entries", models.JSONField(null=True)),
            ],
            options={
                "db_table": "statement",
                "managed": False,
            },
        ),
    ]
