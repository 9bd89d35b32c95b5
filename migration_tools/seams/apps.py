"""The Django application `migration_tools.seams`: in INSTALLED_APPS of the monolith it guards extracted models."""

from django.apps import AppConfig


class SeamsConfig(AppConfig):
    """Registers the guard for connections to come; touches no database."""

    name = "migration_tools.seams"
    label = "strangle_seams"
    verbose_name = "Strangler: seams"

    def ready(self) -> None:
        from migration_tools.seams.extracted import ExtractedGuard

        ExtractedGuard().install()
