"""The tables of read models, for services that have some."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ProjectionsConfig(AppConfig):
    """Finds `read_models` modules, registers their handlers, and sees to their tables after `migrate`."""

    name = "migration_tools.projections"
    label = "strangle_projections"
    verbose_name = "Strangler read models"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from migration_tools.projections import checks  # noqa: F401  (registers the checks)
        from migration_tools.projections.registry import discover

        discover()
        post_migrate.connect(install_tables, sender=self, dispatch_uid="strangle_read_models")


def install_tables(sender: Any, using: str = "default", **options: Any) -> None:
    """Make the tables of read models that have none yet; those of changed ones are left to strangle_rebuild."""
    from django.db import connections, transaction

    from migration_tools.conf import settings
    from migration_tools.projections.registry import get, read_models

    if using != settings().DATABASE or connections[using].vendor != "postgresql" or not read_models():
        return
    from migration_tools.projections.layout import install
    from migration_tools.stores.postgres import django_connection

    for model in read_models():
        with transaction.atomic(using=using):
            install(django_connection(using), get(model.name))
