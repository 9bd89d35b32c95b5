"""The Django app of the users service."""

from django.apps import AppConfig


class UsersServiceConfig(AppConfig):
    """Hold the service's models under a label that cannot meet the monolith's own."""

    name = "extracted_services.users"
    label = "users_service"
    default_auto_field = "django.db.models.BigAutoField"
