"""Stock in Django's admin."""

from django.contrib import admin

from legacy_monolith.inventory.models import Stock


@admin.register(Stock)
class StockAdmin(admin.ModelAdmin):
    list_display = ["product", "on_hand"]
    list_select_related = ["product"]
    raw_id_fields = ["product"]
