"""Settings of the inventory service: its own key, its own database, nobody's sessions."""

from migration_tools import SERVICE_APPS
from migration_tools.service import environment
from migration_tools.service.environment import Environment

SERVICE = Environment(name="inventory", engine="mongodb")

DEBUG = SERVICE.debug()
SECRET_KEY = SERVICE.secret_key()
ALLOWED_HOSTS = SERVICE.allowed_hosts()

ROOT_URLCONF = "extracted_services.inventory.urls"
WSGI_APPLICATION = "extracted_services.inventory.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False

INSTALLED_APPS = [
    "rest_framework",
    "drf_spectacular",
    *SERVICE_APPS,
    "migration_tools.sagas",
    "extracted_services.inventory.apps.InventoryServiceConfig",
]
MIDDLEWARE = environment.MIDDLEWARE
DATABASES = {"default": SERVICE.database()}
# Who keeps the stock itself; positions, outbox and sagas are PostgreSQL's in every mode.
STOCK_ENGINE, STOCK_URL = SERVICE.store()
REST_FRAMEWORK = environment.rest_framework()
LOGGING = environment.log_lines()
SPECTACULAR_SETTINGS = environment.spectacular(
    "Inventory service", "How many of each product there are, what is reserved, and every change of it."
)

# Sales are heard of from the orders service itself; see handlers.py for who acts on them while the monolith is there.
# A checkout is a saga over orders, stock and payments: each of the three hears the other two.
MIGRATION_TOOLS = SERVICE.migration_tools(
    feeds={"inventory": "monolith", "orders": "orders", "payments": "payments"},
    readers=("monolith", "orders", "payments"),
)
