"""Settings of the dashboard service: its own key and database, and the feeds that it reads."""

from migration_tools import SERVICE_APPS
from migration_tools.service import environment
from migration_tools.service.environment import Environment

SERVICE = Environment(name="dashboard")

DEBUG = SERVICE.debug()
SECRET_KEY = SERVICE.secret_key()
ALLOWED_HOSTS = SERVICE.allowed_hosts()

ROOT_URLCONF = "extracted_services.dashboard.urls"
WSGI_APPLICATION = "extracted_services.dashboard.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False

INSTALLED_APPS = [
    "rest_framework",
    "drf_spectacular",
    *SERVICE_APPS,
    "migration_tools.projections",
    "extracted_services.dashboard.apps.DashboardServiceConfig",
]

# Nobody's session is read, and nothing is written but by consumers.
MIDDLEWARE = [
    "migration_tools.routing.shadow.guard.ShadowMiddleware",
    "migration_tools.messaging.middleware.CausalityMiddleware",
    "migration_tools.routing.identity.middleware.IdentityMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
]
DATABASES = {"default": SERVICE.database()}
REST_FRAMEWORK = environment.rest_framework()
LOGGING = environment.log_lines()
SPECTACULAR_SETTINGS = environment.spectacular(
    "Dashboard service",
    "What a customer sees of their orders, put together beforehand from the events of several services.",
    ENUM_NAME_OVERRIDES={"OrderStatus": "extracted_services.dashboard.serializers.STATUS"},
)

MIGRATION_TOOLS = SERVICE.migration_tools(
    feeds=environment.of_their_owners("users", "catalog", "orders", "payments"), readers=()
)
if url := SERVICE.get("STORE_URL"):
    MIGRATION_TOOLS["STORES"] = {"statuses": {"ENGINE": "redis", "URL": url}}
