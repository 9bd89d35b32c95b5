"""The tables of the event store, for services that keep aggregates as events."""

from django.apps import AppConfig


class EventStoreConfig(AppConfig):
    """Holds the models; the library is imported by whoever uses the store."""

    name = "migration_tools.eventstore"
    label = "strangle_eventstore"
    verbose_name = "Strangler event store"
    default_auto_field = "django.db.models.BigAutoField"
