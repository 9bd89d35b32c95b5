from django.db import migrations, models

import migration_tools.messaging.fields


class Migration(migrations.Migration):
    dependencies = [
        ("strangle_messaging", "0003_identity_and_dead_letter_log"),
    ]

    operations = [
        migrations.CreateModel(
            name="TransportPosition",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "stream", "transport", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("stream", models.TextField()),
                ("transport", models.TextField()),
                ("position", models.BigIntegerField()),
                ("confirmed_at", models.DateTimeField(db_default=migration_tools.messaging.fields.ClockTimestamp())),
            ],
            options={
                "db_table": "strangle_transport",
            },
        ),
    ]
