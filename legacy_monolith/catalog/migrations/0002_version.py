"""Count the versions that events tell."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("catalog", "0001_initial")]

    operations = [
        migrations.AddField("Product", "version", models.BigIntegerField(db_default=0, default=0, editable=False)),
    ]
