"""Settings of the payments service: its own key, its own database, nobody's sessions."""

from migration_tools import SERVICE_APPS
from migration_tools.service import environment
from migration_tools.service.environment import Environment

SERVICE = Environment(name="payments")

DEBUG = SERVICE.debug()
SECRET_KEY = SERVICE.secret_key()
ALLOWED_HOSTS = SERVICE.allowed_hosts()

ROOT_URLCONF = "extracted_services.payments.urls"
WSGI_APPLICATION = "extracted_services.payments.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False

INSTALLED_APPS = [
    "rest_framework",
    "drf_spectacular",
    *SERVICE_APPS,
    "migration_tools.eventstore",
    "migration_tools.sagas",
    "extracted_services.payments.apps.PaymentsServiceConfig",
]
MIDDLEWARE = environment.MIDDLEWARE
DATABASES = {"default": SERVICE.database()}
REST_FRAMEWORK = environment.rest_framework()
LOGGING = environment.log_lines()
SPECTACULAR_SETTINGS = environment.spectacular(
    "Payments service", "Money authorised for orders, captured and given back."
)

# Sales are heard of from the orders service itself; see handlers.py for who acts on them while the monolith is there.
# A checkout is a saga over orders, stock and payments: each of the three hears the other two.
MIGRATION_TOOLS = SERVICE.migration_tools(
    feeds={"payments": "monolith", "orders": "orders", "inventory": "inventory"},
    readers=("monolith", "orders", "inventory", "dashboard"),
)
