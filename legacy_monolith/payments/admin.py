"""Payments in Django's admin, to be looked at only."""

from django.contrib import admin
from django.http import HttpRequest

from legacy_monolith.payments.models import Payment


@admin.register(Payment)
class PaymentAdmin(admin.ModelAdmin):
    list_display = ["order_id", "amount", "status", "updated_at"]
    list_filter = ["status"]

    def has_change_permission(self, request: HttpRequest, obj: Payment | None = None) -> bool:
        return False
