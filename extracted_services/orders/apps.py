"""The Django app of the orders service."""

from django.apps import AppConfig


class OrdersServiceConfig(AppConfig):
    """Hold the service's models under a label that cannot meet the monolith's own `orders`."""

    name = "extracted_services.orders"
    label = "orders_service"
    default_auto_field = "django.db.models.BigAutoField"
