"""Settings of the dashboard service: its own key and database, and the feeds that it reads."""

import os
from typing import Any

from migration_tools import SERVICE_APPS

env = os.environ.get

DEBUG = env("SHOP_DEBUG", "") == "1"
SECRET_KEY = env("DASHBOARD_SECRET_KEY", "development-only-key-of-the-dashboard-not-for-production")
ALLOWED_HOSTS = env("SHOP_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")

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

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": env("DASHBOARD_DB_HOST", "127.0.0.1"),
        "PORT": env("DASHBOARD_DB_PORT", "5432"),
        "NAME": env("DASHBOARD_DB_NAME", "dashboard"),
        "USER": env("DASHBOARD_DB_USER", "dashboard_app"),
        "PASSWORD": env("DASHBOARD_DB_PASSWORD", ""),
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
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "extracted_services.dashboard.problems.answer",
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Dashboard service",
    "DESCRIPTION": "What a customer sees of their orders, put together beforehand from the events of several services.",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "ENUM_NAME_OVERRIDES": {"OrderStatus": "extracted_services.dashboard.serializers.STATUS"},
}

_monolith = env("MONOLITH_ADDRESS", "127.0.0.1:8001")
_feed_token = env("FEED_TOKEN_DASHBOARD", "development-feed-token-of-the-dashboard")

MIGRATION_TOOLS: dict[str, Any] = {
    "SIDE": "dashboard",
    # Each stream is read from the side that owns its context now.
    "FEEDS": {
        stream: {"url": f"http://{env(f'{stream.upper()}_ADDRESS', _monolith)}/strangle/feed/", "token": _feed_token}
        for stream in ("users", "catalog", "orders")
    },
    "TRANSPORT": "feed",
    "IDENTITY": "signed",
    "IDENTITY_URL": env("STRANGLE_IDENTITY_URL", f"http://{_monolith}/strangle/identity/"),
    "IDENTITY_TOKEN": _feed_token,
    "IDENTITY_JWKS": env("STRANGLE_IDENTITY_JWKS", ""),
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
}
