"""Count the versions that events tell."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_last_order")]

    operations = [
        migrations.AddField("User", "version", models.BigIntegerField(db_default=0, default=0, editable=False)),
    ]
