"""The first schema of the catalog service."""

import django.contrib.postgres.indexes
import django.contrib.postgres.search
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Category",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("title", models.TextField(unique=True)),
            ],
            options={
                "db_table": "shelf_category",
            },
        ),
        migrations.CreateModel(
            name="Product",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("code", models.TextField(unique=True)),
                ("title", models.TextField()),
                ("price_cents", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("features", models.JSONField(default=dict)),
                ("on_sale", models.BooleanField(default=True)),
                (
                    "words",
                    models.GeneratedField(
                        db_persist=True,
                        expression=django.contrib.postgres.search.CombinedSearchVector(
                            django.contrib.postgres.search.SearchVector("title", config="simple", weight="A"),
                            "||",
                            django.contrib.postgres.search.SearchVector("code", config="simple", weight="B"),
                            django.contrib.postgres.search.SearchConfig("simple"),
                        ),
                        output_field=django.contrib.postgres.search.SearchVectorField(),
                    ),
                ),
                (
                    "category",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="products",
                        to="catalog_service.category",
                    ),
                ),
            ],
            options={
                "db_table": "shelf_product",
                "indexes": [
                    django.contrib.postgres.indexes.GinIndex(fields=["words"], name="shelf_product_words"),
                    models.Index(fields=["category", "price_cents"], name="shelf_product_category_price"),
                ],
            },
        ),
    ]
