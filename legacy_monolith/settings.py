"""Settings of the monolith: everything that differs by machine comes from the environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from migration_tools import CONSOLE_APPS, MONOLITH_APPS

HERE = Path(__file__).resolve().parent
env = os.environ.get


def database(prefix: str, name: str, user: str) -> dict[str, Any]:
    """Describe one PostgreSQL database from the variables `<prefix>_DB_*`."""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": env(f"{prefix}_DB_HOST", "127.0.0.1"),
        "PORT": env(f"{prefix}_DB_PORT", "5432"),
        "NAME": env(f"{prefix}_DB_NAME", name),
        "USER": env(f"{prefix}_DB_USER", user),
        "PASSWORD": env(f"{prefix}_DB_PASSWORD", ""),
        "CONN_MAX_AGE": int(env(f"{prefix}_DB_CONN_MAX_AGE", "60")),
        # With a way past it there is a pooler, which gives the next look into a cursor to somebody else.
        "DISABLE_SERVER_SIDE_CURSORS": bool(env(f"{prefix}_DB_DIRECT")),
        "CONN_HEALTH_CHECKS": True,
    }


SECRET_KEY = env("SHOP_SECRET_KEY", "development-only-key-of-the-shop-not-for-production")
DEBUG = env("SHOP_DEBUG", "0") == "1"
ALLOWED_HOSTS = env("SHOP_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")
ROOT_URLCONF = "legacy_monolith.urls"
WSGI_APPLICATION = "legacy_monolith.wsgi.application"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "legacy_monolith.accounts",
    "legacy_monolith.catalog",
    "legacy_monolith.orders",
    "legacy_monolith.inventory",
    "legacy_monolith.payments",
    "legacy_monolith.reporting",
    *MONOLITH_APPS,
    "migration_tools.projections",
    "migration_tools.sagas",
    *CONSOLE_APPS,
]

MIDDLEWARE = [
    "migration_tools.routing.shadow.guard.ShadowMiddleware",
    "migration_tools.routing.own_writes.middleware.OwnWritesMiddleware",
    "migration_tools.messaging.middleware.CausalityMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "legacy_monolith.accounts.middleware.NotNowMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "migration_tools.routing.identity.middleware.IdentityCookieMiddleware",
    "migration_tools.routing.middleware.FenceMiddleware",
]
if env("SHOP_TRACES"):
    # What the shop couples while it runs, for strangle_analyze --trace.
    MIDDLEWARE.insert(0, "migration_tools.analysis.middleware.TraceMiddleware")

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [HERE / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": database("SHOP", "shop", "shop_app") | {"ATOMIC_REQUESTS": True}}
# Which contexts may be carried out of the monolith, each into the service of its name.
CONTEXTS = [name for name in env("STRANGLE_CONTEXTS", "orders,catalog,inventory,payments,users").split(",") if name]
# Services that took nothing over, and that the console is to show all the same.
BYSTANDERS = [name for name in env("STRANGLE_BYSTANDERS", "").split(",") if name]
for service in (*CONTEXTS, *BYSTANDERS):
    if env(f"{service.upper()}_DB_NAME"):
        # For the operator's commands only; the roles keep the web processes out of it.
        DATABASES[service] = database(service.upper(), service, f"{service}_app")
DATABASE_ROUTERS = ["legacy_monolith.routers.DefaultOnly"]

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["legacy_monolith.accounts.backend.CustomersBackend"]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "products"
SESSION_ENGINE = "django.contrib.sessions.backends.db"
if env("SHOP_SESSIONS_REDIS"):
    # From here on sessions are found in both places, and STRANGLE_SESSIONS says where new ones are made.
    SESSION_ENGINE = "migration_tools.sessions.bridge"
    SESSION_CACHE_ALIAS = "sessions"
    CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "sessions": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": env("SHOP_SESSIONS_REDIS"),
        },
    }
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    "django.contrib.auth.hashers.ScryptPasswordHasher",
]
if env("SHOP_FAST_HASHER") == "1":
    # A demo on two cores should spend its time on orders, not on key derivation.
    PASSWORD_HASHERS.insert(0, "django.contrib.auth.hashers.MD5PasswordHasher")

# Whether the pages may buy by a checkout of the orders service: its consumers and its runner of sagas are there.
CHECKOUTS = env("SHOP_CHECKOUTS") == "1"

if env("STRANGLE_LOG") == "json":
    LOGGING = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "migration_tools.observability.logs.JsonFormatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": "INFO"},
    }

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-gb"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["legacy_monolith.accounts.authentication.CsrfSessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "PAGE_SIZE": 20,
    "EXCEPTION_HANDLER": "legacy_monolith.problems.problem_response",
}

SERVICE_ADDRESSES = {
    context: env(f"{context.upper()}_ADDRESS", f"127.0.0.1:{8002 + number}") for number, context in enumerate(CONTEXTS)
}
# Where the customers are once they have left: sessions and sign-up stay here, and ask there.
ACCOUNTS = {
    "url": f"http://{SERVICE_ADDRESSES['users']}/internal/accounts/" if "users" in SERVICE_ADDRESSES else "",
    "token": env("FEED_TOKEN_MONOLITH", "development-feed-token-of-the-monolith"),
}
# Where pages and carts, which stay here, find products once the catalogue has left.
CATALOG_URL = f"http://{SERVICE_ADDRESSES['catalog']}/api/products/" if "catalog" in SERVICE_ADDRESSES else ""
MIGRATION_TOOLS = {
    "SIDE": "monolith",
    # Where a pooler stands before the databases: how relays, consumers and commands get past it, as host:port.
    "DIRECT": {
        alias: dict(zip(("HOST", "PORT"), where.rsplit(":", 1), strict=True))
        for alias, where in (
            ("default", env("SHOP_DB_DIRECT")),
            *((each, env(f"{each.upper()}_DB_DIRECT")) for each in CONTEXTS),
        )
        if where and alias in DATABASES
    },
    "PLAYBOOKS": [f"playbooks.{context}" for context in CONTEXTS],
    "CONTEXTS": str(HERE / "contexts.toml"),
    "TRACES": env("SHOP_TRACES", "var/traces"),
    # An empty token means that nobody may read, never that an empty token is enough.
    "FEED_TOKENS": {
        name: token
        for name, token in (
            *((each, env(f"FEED_TOKEN_{each.upper()}", f"development-feed-token-of-{each}")) for each in CONTEXTS),
            *((each, env(f"FEED_TOKEN_{each.upper()}", "")) for each in ("gateway", "dashboard", "recommendations")),
        )
        if token
    },
    "FEEDS": {
        context: {
            "url": f"http://{address}/strangle/feed/",
            "token": env("FEED_TOKEN_MONOLITH", "development-feed-token-of-the-monolith"),
        }
        for context, address in SERVICE_ADDRESSES.items()
    },
    "TRANSPORT": env("STRANGLE_TRANSPORT", "feed"),
    "BROKER_URL": env("STRANGLE_BROKER_URL", ""),
    "BACKFILL_RUNNER": env("STRANGLE_BACKFILL_RUNNER", "threads"),
    "UPSTREAMS": {"monolith": env("MONOLITH_ADDRESS", "127.0.0.1:8001"), **SERVICE_ADDRESSES},
    # Handlers and sagas of a service are its own code: what the console asks of them, its manage.py does.
    "SERVICE_COMMANDS": {
        each: [
            *("env", f"DJANGO_SETTINGS_MODULE=extracted_services.{each}.settings"),
            *(sys.executable, str(HERE.parent / "manage.py")),
        ]
        for each in (*CONTEXTS, *BYSTANDERS)
    },
    "METRICS_TOKEN": env("STRANGLE_METRICS_TOKEN", ""),
    "PROXY": {"SHADOW": env("STRANGLE_SHADOW_ADDRESS", "")},
    "SESSIONS": env("STRANGLE_SESSIONS", "table"),
    # Tokens are signed with keys derived from SECRET_KEY, which stays in the monolith.
    "IDENTITY": "signed",
}
