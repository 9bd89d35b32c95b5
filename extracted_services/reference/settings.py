"""Settings of the reference service: its own key and database; what it says is for everybody."""

import os

from migration_tools import SERVICE_APPS
from migration_tools.service import environment
from migration_tools.service.environment import Environment

SERVICE = Environment(name="reference")

DEBUG = SERVICE.debug()
SECRET_KEY = SERVICE.secret_key()
ALLOWED_HOSTS = SERVICE.allowed_hosts()

ROOT_URLCONF = "extracted_services.reference.urls"
WSGI_APPLICATION = "extracted_services.reference.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False

INSTALLED_APPS = [
    "rest_framework",
    "drf_spectacular",
    *SERVICE_APPS,
    "extracted_services.reference.apps.ReferenceConfig",
]
MIDDLEWARE = [
    "migration_tools.composition.middleware.BudgetMiddleware",
    "migration_tools.messaging.middleware.CausalityMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
]
DATABASES = {"default": SERVICE.database()}
REST_FRAMEWORK = {
    **environment.rest_framework(),
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
}
LOGGING = environment.log_lines()
SPECTACULAR_SETTINGS = environment.spectacular(
    "Reference service", "Currencies, countries and taxes, in versions that never change."
)

_gateway = os.environ.get("FEED_TOKEN_GATEWAY", "")
MIGRATION_TOOLS = {
    "SIDE": SERVICE.name,
    # An empty token means that nobody may read, never that an empty token is enough.
    "FEED_TOKENS": {"gateway": _gateway} if _gateway else {},
    **environment.broker(),
}
