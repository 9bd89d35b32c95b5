"""Settings of the shop (relay and feed) and, with STRANGLE_BENCH_SIDE=service, of the service (consumer)."""

import os

from benchmarks.settings import *  # noqa: F403
from benchmarks.settings import DATABASES

ROOT_URLCONF = "benchmarks.messaging.urls"
ALLOWED_HOSTS = ["127.0.0.1"]
CONN_MAX_AGE = None
for database in DATABASES.values():
    database["CONN_MAX_AGE"] = None
    database["DISABLE_SERVER_SIDE_CURSORS"] = True
_TOKEN = os.environ.get("STRANGLE_BENCH_TOKEN", "")
_SERVICE = os.environ.get("STRANGLE_BENCH_SIDE") == "service"
# The second one carries events alone; see benchmarks.scaling.
_STREAMS = ("bench", "bench_more")
# The server's own port, where a pooler's is in STRANGLE_BENCH_PORT.
_DIRECT = os.environ.get("STRANGLE_BENCH_DIRECT")
MIGRATION_TOOLS = {
    "SIDE": "service" if _SERVICE else "monolith",
    "DATABASE": "service" if _SERVICE else "default",
    "PLAYBOOKS": ["benchmarks.playbook"],
    "FEED_TOKENS": {"service": _TOKEN},
    "FEEDS": {name: {"url": os.environ.get("STRANGLE_BENCH_FEED", ""), "token": _TOKEN} for name in _STREAMS}
    if _SERVICE
    else {},
    "DIRECT": {alias: {"PORT": _DIRECT} for alias in DATABASES} if _DIRECT else {},
    "RELAY_IDLE_SECONDS": float(os.environ.get("STRANGLE_BENCH_IDLE", "0.002")),
    "TRANSPORT": "kombu" if os.environ.get("STRANGLE_BENCH_BROKER") else "feed",
    "BROKER_URL": os.environ.get("STRANGLE_BENCH_BROKER", ""),
    "RELAY_SLEEPS": os.environ.get("STRANGLE_BENCH_SLEEPS", "auto"),
}
WSGI_APPLICATION = "benchmarks.messaging.wsgi.application"
