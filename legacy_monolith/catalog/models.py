"""Categories and the products in them."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from legacy_monolith.catalog.fields import FixedCharField
from legacy_monolith.told import Told


class Category(models.Model):
    """A shelf of the shop."""

    name = models.CharField(max_length=100, unique=True)

    class Meta:
        verbose_name_plural = "categories"

    def __str__(self) -> str:
        return self.name


class Product(Told):
    """Something to buy; it is never deleted, only made inactive."""

    TOLD: ClassVar = ("sku", "name", "price", "currency", "active")

    sku = models.CharField(max_length=40, unique=True)
    name = models.CharField(max_length=200)
    price = models.DecimalField(max_digits=10, decimal_places=2)
    currency = FixedCharField(max_length=3, default="EUR")
    category = models.ForeignKey(Category, on_delete=models.PROTECT, related_name="products")
    attributes = models.JSONField(default=dict, blank=True)
    active = models.BooleanField(default=True)

    def __str__(self) -> str:
        return self.name
