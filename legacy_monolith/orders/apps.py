"""Django's registration of the orders app."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    name = "legacy_monolith.orders"
    label = "orders"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from legacy_monolith.orders import signals  # noqa: F401  (connects the receivers)
