"""Customers have an id that may be shown, once the users service has said so."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orders_service", "0003_customers"),
    ]

    operations = [
        migrations.AddField(model_name="customer", name="public_id", field=models.UUIDField(null=True, unique=True)),
    ]
