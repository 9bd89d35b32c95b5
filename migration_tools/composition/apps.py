"""The composition room as an application: no tables, one system check."""

from django.apps import AppConfig


class CompositionConfig(AppConfig):
    """Registers the check of how wide a gateway has become."""

    name = "migration_tools.composition"
    label = "strangle_composition"
    verbose_name = "Strangler composition"

    def ready(self) -> None:
        from migration_tools.composition import checks  # noqa: F401  (registers the check)
