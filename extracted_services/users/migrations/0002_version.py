"""Count the versions that events tell."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("users_service", "0001_initial")]

    operations = [
        migrations.AddField("Person", "version", models.BigIntegerField(db_default=0, default=0)),
    ]
