"""The first schema of the payments service."""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Payment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("order_number", models.BigIntegerField(db_index=True)),
                ("order_public_id", models.UUIDField(null=True)),
                ("payer_id", models.BigIntegerField(null=True)),
                ("amount_cents", models.BigIntegerField()),
                (
                    "status",
                    models.CharField(
                        choices=[("authorised", "Authorised"), ("captured", "Captured"), ("refunded", "Refunded")],
                        default="authorised",
                        max_length=16,
                    ),
                ),
                ("authorised_at", models.DateTimeField()),
                ("changed_at", models.DateTimeField()),
            ],
            options={
                "db_table": "billing_payment",
                "indexes": [models.Index(fields=["payer_id", "-id"], name="billing_payment_of_payer")],
            },
        ),
    ]
