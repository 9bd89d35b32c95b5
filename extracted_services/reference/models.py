"""Published versions of reference data; none is ever changed."""

from django.db import models


class Kind(models.TextChoices):
    """What there is to know."""

    CURRENCIES = "currencies", "currencies and their rates"
    COUNTRIES = "countries", "countries"
    TAXES = "taxes", "tax rates by country"


class Snapshot(models.Model):
    """One version: all rows of a kind, each with its `id`, its `key`, and the day from which it holds."""

    pk = models.CompositePrimaryKey("kind", "version")
    kind = models.TextField(choices=Kind.choices)
    version = models.IntegerField()
    rows = models.JSONField()
    published_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "reference_snapshot"

    def __str__(self) -> str:
        return f"{self.kind} {self.version}"
