"""The monolith with two further stores, for processes that tests kill."""

import os

from legacy_monolith.settings import *  # noqa: F403
from legacy_monolith.settings import MIGRATION_TOOLS as OWN

PLAYBOOKS = ["tests.replica_playbook"]


def stores(analytics: str, cache: str) -> dict[str, dict[str, str]]:
    """The setting STORES for these addresses."""
    return {
        "analytics": {"ENGINE": "clickhouse", "URL": analytics},
        "cache": {"ENGINE": "redis", "URL": cache},
    }


MIGRATION_TOOLS = {
    **OWN,
    "PLAYBOOKS": PLAYBOOKS,
    "STORES": stores(os.environ.get("ANALYTICS_URL", ""), os.environ.get("CACHE_URL", "")),
}
