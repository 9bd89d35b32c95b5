"""Settings of the gateway: its own key and database, the addresses of the services that it asks."""

import os
from typing import Any

from migration_tools import SERVICE_APPS

env = os.environ.get

DEBUG = env("SHOP_DEBUG", "") == "1"
SECRET_KEY = env("GATEWAY_SECRET_KEY", "development-only-key-of-the-gateway-not-for-production")
ALLOWED_HOSTS = env("SHOP_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")

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

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": env("GATEWAY_DB_HOST", "127.0.0.1"),
        "PORT": env("GATEWAY_DB_PORT", "5432"),
        "NAME": env("GATEWAY_DB_NAME", "gateway"),
        "USER": env("GATEWAY_DB_USER", "gateway_app"),
        "PASSWORD": env("GATEWAY_DB_PASSWORD", ""),
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
    "EXCEPTION_HANDLER": "extracted_services.gateway.problems.answer",
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Gateway",
    "DESCRIPTION": "One call a screen, put together from several services.",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
}

_monolith = env("MONOLITH_ADDRESS", "127.0.0.1:8001")
_feed_token = env("FEED_TOKEN_GATEWAY", "development-feed-token-of-the-gateway")

# Everything is asked of the proxy, which knows who owns what by now, unless a service has an address of its own.
_shop = f"http://{env('SHOP_ADDRESS', '127.0.0.1:8000')}"

MIGRATION_TOOLS: dict[str, Any] = {
    "SIDE": "gateway",
    "SERVICES": {name: env(f"{name.upper()}_URL", _shop) for name in ("users", "orders", "catalog", "recommendations")},
    "FEEDS": {
        stream: {"url": f"http://{env(f'{stream.upper()}_ADDRESS', _monolith)}/strangle/feed/", "token": _feed_token}
        for stream in ("users", "orders", "catalog")
    },
    "DEADLINE_SECONDS": float(env("GATEWAY_DEADLINE_SECONDS", "1.5")),
    "TRANSPORT": env("STRANGLE_TRANSPORT", "feed"),
    "BROKER_URL": env("STRANGLE_BROKER_URL", ""),
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
