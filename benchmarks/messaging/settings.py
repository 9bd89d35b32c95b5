"""Settings of the shop (relay and feed) and, with STRANGLE_BENCH_SIDE=service, of the service (consumer)."""

import os

from benchmarks.settings import *  # noqa: F403
from benchmarks.settings import DATABASES

ROOT_URLCONF = "benchmarks.messaging.urls"
ALLOWED_HOSTS = ["127.0.0.1"]
CONN_MAX_AGE = None
for database in DATABASES.values():
    database["CONN_MAX_AGE"] = None  # type: ignore[assignment]
_TOKEN = os.environ.get("STRANGLE_BENCH_TOKEN", "")
_SERVICE = os.environ.get("STRANGLE_BENCH_SIDE") == "service"
MIGRATION_TOOLS = {
    "SIDE": "service" if _SERVICE else "monolith",
    "DATABASE": "service" if _SERVICE else "default",
    "PLAYBOOKS": ["benchmarks.playbook"],
    "FEED_TOKENS": {"service": _TOKEN},
    "FEEDS": {"bench": {"url": os.environ.get("STRANGLE_BENCH_FEED", ""), "token": _TOKEN}} if _SERVICE else {},
    "RELAY_IDLE_SECONDS": float(os.environ.get("STRANGLE_BENCH_IDLE", "0.002")),
    "TRANSPORT": "kombu" if os.environ.get("STRANGLE_BENCH_BROKER") else "feed",
    "BROKER_URL": os.environ.get("STRANGLE_BENCH_BROKER", ""),
    "RELAY_SLEEPS": os.environ.get("STRANGLE_BENCH_SLEEPS", "auto"),
}
WSGI_APPLICATION = "benchmarks.messaging.wsgi.application"
