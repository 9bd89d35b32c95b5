"""The application that a service adds to INSTALLED_APPS to orchestrate sagas or to take part in them."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class SagasConfig(AppConfig):
    """Finds `sagas` modules (definitions, participants, reactions) and registers their checks and metrics."""

    name = "migration_tools.sagas"
    label = "strangle_sagas"
    verbose_name = "Strangler sagas"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from migration_tools.messaging.metrics import contribute
        from migration_tools.sagas import (
            checks,  # noqa: F401  (registers the checks)
            metrics,
        )

        contribute(metrics.FAMILIES, metrics.collect)
        autodiscover_modules("sagas")
