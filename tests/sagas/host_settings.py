"""Settings of one of the three services as a process: which one, and where the others are, says the environment."""

import json
import os

from migration_tools import SERVICE_APPS
from tests.sagas.tables import SERVICES, STREAMS

SERVICE = os.environ.get("SAGA_SERVICE", "orders")
PORTS = json.loads(os.environ.get("SAGA_PORTS", '{"orders": 1, "inventory": 2, "payments": 3}'))
TOKEN = "tests-feed-token-of-sagas"

SECRET_KEY = "a test"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "migration_tools.urls"
INSTALLED_APPS = [*SERVICE_APPS, "migration_tools.sagas"]
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": os.environ.get("ORDERS_DB_PORT", "5432"),
        "NAME": os.environ.get("SAGA_DB_NAME", SERVICE),
        "USER": os.environ.get("ORDERS_DB_USER", "postgres"),
        "PASSWORD": os.environ.get("ORDERS_DB_PASSWORD", ""),
    }
}
MIGRATION_TOOLS = {
    "SIDE": SERVICE,
    "FEED_TOKENS": {name: TOKEN for name in SERVICES},
    "FEEDS": {STREAMS[name]: {"url": f"http://127.0.0.1:{PORTS[name]}/feed/", "token": TOKEN} for name in SERVICES},
    "FEED_WAIT_SECONDS": 0.5,
    "SAGA_BROKER_URL": os.environ.get("SAGA_BROKER_URL", ""),
}
