"""The Django app of the gateway."""

from django.apps import AppConfig


class GatewayConfig(AppConfig):
    """Hold the gateway's read models."""

    name = "extracted_services.gateway"
    label = "gateway_service"
    default_auto_field = "django.db.models.BigAutoField"
