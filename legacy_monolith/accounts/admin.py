"""Customers in Django's admin."""

from django.contrib import admin

from legacy_monolith.accounts.models import User


@admin.register(User)
class UserAdmin(admin.ModelAdmin):
    list_display = ["email", "first_name", "last_name", "is_staff"]
    search_fields = ["email", "last_name"]
    raw_id_fields = ["last_order"]
    exclude = ["password"]
