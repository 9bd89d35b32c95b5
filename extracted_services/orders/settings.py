"""Settings of the orders service: its own key, its own database, nobody's sessions."""

import os
from typing import Any

from migration_tools import SERVICE_APPS

env = os.environ.get

DEBUG = env("SHOP_DEBUG", "") == "1"
SECRET_KEY = env("ORDERS_SECRET_KEY", "development-only-key-of-the-orders-service-not-for-production")
ALLOWED_HOSTS = env("SHOP_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")

ROOT_URLCONF = "extracted_services.orders.urls"
WSGI_APPLICATION = "extracted_services.orders.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False

INSTALLED_APPS = [
    "rest_framework",
    "drf_spectacular",
    *SERVICE_APPS,
    "migration_tools.sagas",
    "extracted_services.orders.apps.OrdersServiceConfig",
]

# No session middleware: the service knows its callers by the monolith's signed token, so a request it answers (or
# shadows) can never touch the monolith's sessions.
MIDDLEWARE = [
    "migration_tools.routing.shadow.guard.ShadowMiddleware",
    "migration_tools.routing.own_writes.middleware.OwnWritesMiddleware",
    "migration_tools.messaging.middleware.CausalityMiddleware",
    "migration_tools.routing.middleware.FenceMiddleware",
    "migration_tools.routing.identity.middleware.IdentityMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": env("ORDERS_DB_HOST", "127.0.0.1"),
        "PORT": env("ORDERS_DB_PORT", "5432"),
        "NAME": env("ORDERS_DB_NAME", "orders"),
        "USER": env("ORDERS_DB_USER", "orders_app"),
        "PASSWORD": env("ORDERS_DB_PASSWORD", ""),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "ATOMIC_REQUESTS": False,
        "OPTIONS": {"connect_timeout": 5},
    }
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["migration_tools.routing.identity.authentication.IdentityAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["extracted_services.orders.serializers.BoundedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "extracted_services.orders.problems.answer",
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Orders service",
    "DESCRIPTION": "Purchases and their life until shipped or cancelled.",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "ENUM_NAME_OVERRIDES": {"OrderStatus": "extracted_services.orders.models.State.choices"},
}

_feed_token_orders = env("FEED_TOKEN_ORDERS", "development-feed-token-of-orders")
_feed_token_monolith = env("FEED_TOKEN_MONOLITH", "development-feed-token-of-the-monolith")

MIGRATION_TOOLS: dict[str, Any] = {
    "SIDE": "orders",
    "FEEDS": {
        "orders": {
            "url": f"http://{env('MONOLITH_ADDRESS', '127.0.0.1:8001')}/strangle/feed/",
            "token": _feed_token_orders,
        }
    },
    # An empty token means that nobody may read, never that an empty token is enough.
    "FEED_TOKENS": {"monolith": _feed_token_monolith} if _feed_token_monolith else {},
    "TRANSPORT": env("STRANGLE_TRANSPORT", "feed"),
    "BROKER_URL": env("STRANGLE_BROKER_URL", ""),
    "IDENTITY": "signed",
    "IDENTITY_URL": env(
        "STRANGLE_IDENTITY_URL", f"http://{env('MONOLITH_ADDRESS', '127.0.0.1:8001')}/strangle/identity/"
    ),
    "IDENTITY_TOKEN": _feed_token_orders,
    # The monolith's public keys as a document, where it cannot be asked for them.
    "IDENTITY_JWKS": env("STRANGLE_IDENTITY_JWKS", ""),
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
}
