"""The Django app of the inventory service."""

from django.apps import AppConfig


class InventoryServiceConfig(AppConfig):
    """Hold the service's models under a label that cannot meet the monolith's own."""

    name = "extracted_services.inventory"
    label = "inventory_service"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register what the service checks of its own."""
        from . import checks  # noqa: F401
