"""The Django app that stores the routing table's versions."""

from django.apps import AppConfig


class RoutingConfig(AppConfig):
    name = "migration_tools.routing"
    label = "strangle_routing"
    verbose_name = "Strangler: routing"
    default_auto_field = "django.db.models.BigAutoField"
