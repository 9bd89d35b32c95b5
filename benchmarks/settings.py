"""Django's settings for the benchmark: the shop and its service, on the server whose place the environment gives."""

import os
from typing import Any

from migration_tools import MONOLITH_APPS


def _database(variable: str, name: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": os.environ.get("STRANGLE_BENCH_PORT", "5432"),
        "NAME": os.environ.get(variable, name),
        "USER": "postgres",
        "PASSWORD": os.environ.get("STRANGLE_BENCH_PASSWORD", ""),
    }


SECRET_KEY = "benchmark"  # noqa: S105  (signs nothing)
INSTALLED_APPS = ["benchmarks.shop", *MONOLITH_APPS]
DATABASES = {
    "default": _database("STRANGLE_BENCH_SHOP", "shop"),
    "service": _database("STRANGLE_BENCH_SERVICE", "service"),
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
MIGRATION_TOOLS: dict[str, Any] = {
    "SIDE": "monolith",
    "PLAYBOOKS": ["benchmarks.playbook"],
    "BACKFILL_BROKER_URL": os.environ.get("STRANGLE_BENCH_BACKFILL_BROKER", ""),
}
