"""Settings of the recommendations service: its key, a database for its positions, ClickHouse or MongoDB for facts."""

from migration_tools import SERVICE_APPS
from migration_tools.service import environment
from migration_tools.service.environment import Environment

SERVICE = Environment(name="recommendations")

DEBUG = SERVICE.debug()
SECRET_KEY = SERVICE.secret_key()
ALLOWED_HOSTS = SERVICE.allowed_hosts()

ROOT_URLCONF = "extracted_services.recommendations.urls"
WSGI_APPLICATION = "extracted_services.recommendations.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False

INSTALLED_APPS = [
    "rest_framework",
    "drf_spectacular",
    *SERVICE_APPS,
    "extracted_services.recommendations.apps.RecommendationsServiceConfig",
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
    "Recommendations service", "What was bought together, and what the shop took in a day."
)

MIGRATION_TOOLS = SERVICE.migration_tools(feeds=environment.of_their_owners("orders"), readers=()) | {
    # `mongodb` and its URL; `chdb` and a directory keeps it inside one process, for a notebook.
    "STORES": {
        "facts": {
            "ENGINE": SERVICE.get("STORE_ENGINE", "clickhouse"),
            "URL": SERVICE.get("STORE_URL", "http://default@127.0.0.1:8123/shop"),
        }
    },
}
