"""The messaging tables, installed on both sides."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class MessagingConfig(AppConfig):
    """Finds `contracts` and `handlers` modules of installed apps; touches no database."""

    name = "migration_tools.messaging"
    label = "strangle_messaging"
    verbose_name = "Strangler messaging"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        autodiscover_modules("contracts", "handlers")
