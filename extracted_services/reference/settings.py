"""Settings of the reference service: its own key and database; what it says is for everybody."""

import os
from typing import Any

from migration_tools import SERVICE_APPS

env = os.environ.get

DEBUG = env("SHOP_DEBUG", "") == "1"
SECRET_KEY = env("REFERENCE_SECRET_KEY", "development-only-key-of-the-reference-service-not-for-production")
ALLOWED_HOSTS = env("SHOP_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")

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

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": env("REFERENCE_DB_HOST", "127.0.0.1"),
        "PORT": env("REFERENCE_DB_PORT", "5432"),
        "NAME": env("REFERENCE_DB_NAME", "reference"),
        "USER": env("REFERENCE_DB_USER", "reference_app"),
        "PASSWORD": env("REFERENCE_DB_PASSWORD", ""),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 5},
    }
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "extracted_services.reference.problems.answer",
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Reference service",
    "DESCRIPTION": "Currencies, countries and taxes, in versions that never change.",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
}

_feed_token_gateway = env("FEED_TOKEN_GATEWAY", "")
MIGRATION_TOOLS: dict[str, Any] = {
    "SIDE": "reference",
    # An empty token means that nobody may read, never that an empty token is enough.
    "FEED_TOKENS": {"gateway": _feed_token_gateway} if _feed_token_gateway else {},
    "TRANSPORT": env("STRANGLE_TRANSPORT", "feed"),
    "BROKER_URL": env("STRANGLE_BROKER_URL", ""),
}
