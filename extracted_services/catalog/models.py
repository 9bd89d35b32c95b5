"""The schema of the catalog service: categories, and products that are found by words and by likeness."""

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector, SearchVectorField
from django.db import models

# Product names come in every language; stemming by one of them would only lose words of the others.
CONFIGURATION = "simple"
WORDS = SearchVector("title", weight="A", config=CONFIGURATION) + SearchVector("code", weight="B", config=CONFIGURATION)


class Category(models.Model):
    """A shelf of the shop."""

    title = models.TextField(unique=True)

    class Meta:
        db_table = "shelf_category"

    def __str__(self) -> str:
        return self.title


class Product(models.Model):
    """Something to buy; it is never deleted, only taken off sale."""

    code = models.TextField(unique=True)
    title = models.TextField()
    price_cents = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    category = models.ForeignKey(Category, on_delete=models.PROTECT, related_name="products")
    features = models.JSONField(default=dict)
    on_sale = models.BooleanField(default=True)
    # Of what events tell; counted under the row's lock by whoever owns the catalogue, the monolith or this service.
    version = models.BigIntegerField(default=0, db_default=0)
    # Made by PostgreSQL, so that it is right however a row was written: by the API, a copy or the sync.
    words = models.GeneratedField(expression=WORDS, output_field=SearchVectorField(), db_persist=True)

    class Meta:
        db_table = "shelf_product"
        indexes = [
            GinIndex(fields=["words"], name="shelf_product_words"),
            models.Index(fields=["category", "price_cents"], name="shelf_product_category_price"),
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.title}"
