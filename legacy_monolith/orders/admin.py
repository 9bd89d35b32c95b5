"""Orders in Django's admin: one more writer that goes round the API."""

from django.contrib import admin

from legacy_monolith.orders.models import Order, OrderLine


class LineInline(admin.TabularInline):
    model = OrderLine
    raw_id_fields = ["product"]
    extra = 0


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ["public_id", "user", "status", "total", "placed_at"]
    list_filter = ["status"]
    list_select_related = ["user"]
    search_fields = ["public_id", "client_reference"]
    raw_id_fields = ["user"]
    inlines = [LineInline]
