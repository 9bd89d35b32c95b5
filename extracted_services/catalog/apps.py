"""The Django app of the catalog service."""

from django.apps import AppConfig


class CatalogServiceConfig(AppConfig):
    """Hold the service's models under a label that cannot meet the monolith's own."""

    name = "extracted_services.catalog"
    label = "catalog_service"
    default_auto_field = "django.db.models.BigAutoField"
