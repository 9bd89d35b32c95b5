"""The Django app of the dashboard service."""

from django.apps import AppConfig


class DashboardServiceConfig(AppConfig):
    """Hold the service's read models."""

    name = "extracted_services.dashboard"
    label = "dashboard_service"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Let the OpenAPI document know the identity cookie, and the checks what the serializers show."""
        from migration_tools.service import openapi  # noqa: F401

        from . import serializers  # noqa: F401
