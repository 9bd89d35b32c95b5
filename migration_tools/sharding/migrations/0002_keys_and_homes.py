"""Keys that move between regions: what each shard says of them, and where they are at home."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("strangle_sharding", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Home",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "map", "key", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("map", models.TextField()),
                ("key", models.TextField()),
                ("region", models.TextField()),
                ("relocation", models.TextField()),
                ("consent", models.TextField()),
                ("settled", models.BooleanField()),
            ],
            options={
                "db_table": "strangle_shard_home",
            },
        ),
        migrations.CreateModel(
            name="Key",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "map", "bucket", "key", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("map", models.TextField()),
                ("bucket", models.IntegerField()),
                ("key", models.TextField()),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("open", "served: it came, or stayed after all"),
                            ("closed", "refused: its rows stand still and are copied to another region"),
                            ("left", "refused: another region serves it, its rows here are seen by nobody"),
                            ("gone", "refused: another region serves it, and no row of it is here"),
                            ("arriving", "refused: its rows come, and are seen by nobody"),
                        ]
                    ),
                ),
                ("relocation", models.TextField()),
            ],
            options={
                "db_table": "strangle_shard_key",
            },
        ),
    ]
