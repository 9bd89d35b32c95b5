"""Django's registration of the catalog app."""

from django.apps import AppConfig


class CatalogConfig(AppConfig):
    name = "legacy_monolith.catalog"
    label = "catalog"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from legacy_monolith.catalog import events, seam  # noqa: F401  (declaring them registers them)
