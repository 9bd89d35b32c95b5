"""The monolith's settings for a backfill of many small chunks by three workers, whose runner the environment names."""

import os

from legacy_monolith.settings import *  # noqa: F403
from legacy_monolith.settings import MIGRATION_TOOLS as SHOP

MIGRATION_TOOLS = {
    **SHOP,
    "CHUNK_BYTES": int(os.environ.get("TEST_CHUNK_BYTES", "4000")),
    "BACKFILL_WORKERS": 3,
    "BACKFILL_RUNNER": os.environ.get("TEST_BACKFILL_RUNNER", "threads"),
    "BACKFILL_BROKER_URL": os.environ.get("TEST_BACKFILL_BROKER_URL", ""),
}
