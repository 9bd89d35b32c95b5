"""The Django app of the reference service."""

from django.apps import AppConfig


class ReferenceConfig(AppConfig):
    """Hold the published versions."""

    name = "extracted_services.reference"
    label = "reference_service"
    default_auto_field = "django.db.models.BigAutoField"
