"""The console as a Django application of the monolith: templates only, no tables."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """Needs django-htmx, of which it serves the script."""

    name = "migration_tools.console"
    label = "strangle_console"
    verbose_name = "Strangler console"
