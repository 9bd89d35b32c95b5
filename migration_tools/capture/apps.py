"""The capture tables, installed on both sides."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class CaptureConfig(AppConfig):
    """Closes the toolkit's tables to application roles after each schema migration."""

    name = "migration_tools.capture"
    label = "strangle_capture"
    verbose_name = "Strangler capture"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from migration_tools.capture.privileges import close_tables

        post_migrate.connect(close_tables, sender=self, dispatch_uid="strangle_close_tables")
