"""The messaging tables, installed on both sides."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules


class MessagingConfig(AppConfig):
    """Finds `contracts` and `handlers` modules, stamps writes, sees to the outbox's wake trigger after `migrate`."""

    name = "migration_tools.messaging"
    label = "strangle_messaging"
    verbose_name = "Strangler messaging"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from migration_tools.messaging.stamping import follow_connections

        follow_connections()
        autodiscover_modules("contracts", "handlers")
        from migration_tools.messaging.wake import install_wake

        post_migrate.connect(install_wake, sender=self, dispatch_uid="strangle_install_wake")
