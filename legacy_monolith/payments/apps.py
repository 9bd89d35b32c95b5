"""Django's registration of the payments app."""

from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "legacy_monolith.payments"
    label = "payments"
    default_auto_field = "django.db.models.BigAutoField"
