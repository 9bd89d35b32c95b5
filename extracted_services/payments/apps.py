"""The Django app of the payments service."""

from django.apps import AppConfig


class PaymentsServiceConfig(AppConfig):
    """Hold the service's models under a label that cannot meet the monolith's own."""

    name = "extracted_services.payments"
    label = "payments_service"
    default_auto_field = "django.db.models.BigAutoField"
