"""Settings of the catalog service: its own key, its own database, nobody's sessions."""

from migration_tools import SERVICE_APPS
from migration_tools.service import environment
from migration_tools.service.environment import Environment

SERVICE = Environment(name="catalog")

DEBUG = SERVICE.debug()
SECRET_KEY = SERVICE.secret_key()
ALLOWED_HOSTS = SERVICE.allowed_hosts()

ROOT_URLCONF = "extracted_services.catalog.urls"
WSGI_APPLICATION = "extracted_services.catalog.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False

INSTALLED_APPS = [
    "django.contrib.postgres",
    "rest_framework",
    "drf_spectacular",
    *SERVICE_APPS,
    "migration_tools.projections",
    "extracted_services.catalog.apps.CatalogServiceConfig",
]
MIDDLEWARE = environment.MIDDLEWARE
DATABASES = {"default": SERVICE.database()}
REST_FRAMEWORK = environment.rest_framework()
LOGGING = environment.log_lines()
SPECTACULAR_SETTINGS = environment.spectacular(
    "Catalog service", "Products and their categories, found by words, by likeness and by facets."
)

MIGRATION_TOOLS = SERVICE.migration_tools(
    feeds={"catalog": "monolith"}, readers=("monolith", "orders", "gateway", "dashboard")
)
