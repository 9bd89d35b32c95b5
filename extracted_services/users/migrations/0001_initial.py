"""The first schema of the users service."""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Person",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("email", models.EmailField(max_length=254, unique=True)),
                ("password_hash", models.CharField(max_length=128)),
                ("given_name", models.TextField()),
                ("family_name", models.TextField()),
                ("works_here", models.BooleanField(default=False)),
                ("may_everything", models.BooleanField(default=False)),
                ("active", models.BooleanField(default=True)),
                ("last_seen_at", models.DateTimeField(null=True)),
                ("joined_at", models.DateTimeField()),
            ],
            options={
                "db_table": "people_person",
            },
        ),
    ]
