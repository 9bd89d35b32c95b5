"""The state tables, installed in the monolith."""

from django.apps import AppConfig


class StateConfig(AppConfig):
    """Tables only."""

    name = "migration_tools.state"
    label = "strangle_state"
    verbose_name = "Strangler state"
    default_auto_field = "django.db.models.BigAutoField"
