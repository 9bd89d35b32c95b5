"""Django's settings for the proxy benchmark: a shop whose routing table stands in the benchmark's own database."""

import os

from benchmarks.settings import *  # noqa: F403

MIGRATION_TOOLS = {
    "SIDE": "monolith",
    "UPSTREAMS": {
        "monolith": os.environ.get("STRANGLE_BENCH_OLD", "127.0.0.1:1"),
        "service": os.environ.get("STRANGLE_BENCH_NEW", "127.0.0.1:1"),
    },
}
