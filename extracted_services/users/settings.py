"""Settings of the users service: its own key, its own database, nobody's sessions."""

import os

from migration_tools import SERVICE_APPS
from migration_tools.service import environment
from migration_tools.service.environment import Environment

SERVICE = Environment(name="users")

DEBUG = SERVICE.debug()
SECRET_KEY = SERVICE.secret_key()
ALLOWED_HOSTS = SERVICE.allowed_hosts()

ROOT_URLCONF = "extracted_services.users.urls"
WSGI_APPLICATION = "extracted_services.users.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False

INSTALLED_APPS = [
    "rest_framework",
    "drf_spectacular",
    *SERVICE_APPS,
    "migration_tools.projections",
    "extracted_services.users.apps.UsersServiceConfig",
]
MIDDLEWARE = environment.MIDDLEWARE
DATABASES = {"default": SERVICE.database()}
# Of the throttle's counts; a cache that drops them after a few hundred logins would count nobody's tries.
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 100_000}},
}
REST_FRAMEWORK = {
    **environment.rest_framework(),
    # Whose address counts for the throttle: what the last of so many proxies before this service says of its client.
    "NUM_PROXIES": int(SERVICE.get("PROXIES", "1")),
    "DEFAULT_THROTTLE_RATES": {
        "token_address": SERVICE.get("TOKENS_PER_ADDRESS", "60/min"),
        "token_login": SERVICE.get("TOKENS_PER_LOGIN", "10/min"),
    },
}
LOGGING = environment.log_lines()
SPECTACULAR_SETTINGS = environment.spectacular(
    "Users service", "Who the customers are: names, addresses of mail, and whether a password is theirs."
)

MIGRATION_TOOLS = SERVICE.migration_tools(
    feeds={"users": "monolith"}, readers=("monolith", "orders", "gateway", "dashboard")
) | {
    # Who may be asked with a token of this service, and not for pages: those that a browser asks keep its cookies.
    "IDENTITY_API_AUDIENCE": SERVICE.get("TOKEN_AUDIENCE", "users,orders,catalog,inventory,payments").split(","),
}

PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    "django.contrib.auth.hashers.ScryptPasswordHasher",
]
if os.environ.get("SHOP_FAST_HASHER") == "1":
    # As in the monolith: a demo on two cores should spend its time on orders, not on key derivation.
    PASSWORD_HASHERS.insert(0, "django.contrib.auth.hashers.MD5PasswordHasher")
