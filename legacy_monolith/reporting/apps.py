"""Django's registration of the reporting app."""

from django.apps import AppConfig


class ReportingConfig(AppConfig):
    name = "legacy_monolith.reporting"
    label = "reporting"
    default_auto_field = "django.db.models.BigAutoField"
