"""What customers are called, as the users service says."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orders_service", "0002_checkouts"),
    ]

    operations = [
        migrations.CreateModel(
            name="Customer",
            fields=[
                ("id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("name", models.TextField(default="")),
            ],
            options={"db_table": "sales_customer"},
        ),
    ]
