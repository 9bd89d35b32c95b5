"""The umbrella Django application: commands and system checks, no tables."""

from django.apps import AppConfig


class StranglerConfig(AppConfig):
    """Registers checks; touches no database."""

    name = "migration_tools"
    label = "strangle"
    verbose_name = "Strangler"

    def ready(self) -> None:
        from migration_tools import checks  # noqa: F401  (registers the checks)
