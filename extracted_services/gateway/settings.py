"""Settings of the gateway: its own key and database, the addresses of the services that it asks."""

import os

from migration_tools import SERVICE_APPS
from migration_tools.errors import SettingsError
from migration_tools.service import environment
from migration_tools.service.environment import Environment

SERVICE = Environment(name="gateway")

# Which screens this process serves: one slice of them, or all.
SLICE = SERVICE.get("SLICE")
if SLICE not in ("", "screens", "ordered_products"):
    raise SettingsError(f"GATEWAY_SLICE is {SLICE!r}; it must be 'screens', 'ordered_products' or empty, for both")

DEBUG = SERVICE.debug()
SECRET_KEY = SERVICE.secret_key()
ALLOWED_HOSTS = SERVICE.allowed_hosts()

ROOT_URLCONF = "extracted_services.gateway.urls"
WSGI_APPLICATION = "extracted_services.gateway.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False

INSTALLED_APPS = [
    "rest_framework",
    "drf_spectacular",
    *SERVICE_APPS,
    "migration_tools.composition",
    "migration_tools.replication",
    "extracted_services.gateway.apps.GatewayConfig",
]

MIDDLEWARE = [
    "migration_tools.routing.shadow.guard.ShadowMiddleware",
    "migration_tools.composition.middleware.BudgetMiddleware",
    "migration_tools.messaging.middleware.CausalityMiddleware",
    "migration_tools.routing.identity.middleware.IdentityMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
]
DATABASES = {"default": SERVICE.database()}
REST_FRAMEWORK = environment.rest_framework()
LOGGING = environment.log_lines()
SPECTACULAR_SETTINGS = environment.spectacular("Gateway", "One call a screen, put together from several services.")

# Everything is asked of the proxy, which knows who owns what by now, unless a service has an address of its own.
_shop = f"http://{os.environ.get('SHOP_ADDRESS', '127.0.0.1:8000')}"

MIGRATION_TOOLS = {
    **SERVICE.migration_tools(feeds=environment.of_their_owners("users", "orders", "catalog"), readers=()),
    "SERVICES": {
        name: os.environ.get(f"{name.upper()}_URL", _shop) for name in ("users", "orders", "catalog", "recommendations")
    },
    "DEADLINE_SECONDS": float(SERVICE.get("DEADLINE_SECONDS", "1.5")),
}
