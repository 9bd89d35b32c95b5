"""The Django app of the dashboard service."""

from django.apps import AppConfig


class DashboardServiceConfig(AppConfig):
    """Hold the service's read models."""

    name = "extracted_services.dashboard"
    label = "dashboard_service"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Let the checks know what the serializers show."""
        from . import serializers  # noqa: F401
