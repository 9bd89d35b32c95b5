"""Django's registration of the inventory app."""

from django.apps import AppConfig


class InventoryConfig(AppConfig):
    name = "legacy_monolith.inventory"
    label = "inventory"
    default_auto_field = "django.db.models.BigAutoField"
