"""Categories and products in Django's admin."""

from django.contrib import admin

from legacy_monolith.catalog.models import Category, Product


@admin.register(Category)
class CategoryAdmin(admin.ModelAdmin):
    search_fields = ["name"]


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ["sku", "name", "price", "category", "active"]
    list_filter = ["category", "active"]
    search_fields = ["sku", "name"]
