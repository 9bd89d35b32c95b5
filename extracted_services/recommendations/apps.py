"""The Django app of the recommendations service."""

from django.apps import AppConfig


class RecommendationsServiceConfig(AppConfig):
    """Hold the service's handlers; its facts are in ClickHouse or MongoDB, so it has no models."""

    name = "extracted_services.recommendations"
    label = "recommendations_service"
