"""The replication room as an application of a service."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class ReplicationConfig(AppConfig):
    """Finds `copies` modules, which declare what is kept of other services."""

    name = "migration_tools.replication"
    label = "strangle_replication"
    verbose_name = "Strangler replication"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        autodiscover_modules("copies")
