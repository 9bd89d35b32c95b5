"""The monolith with further stores, for processes that tests kill."""

import os

from legacy_monolith.settings import *  # noqa: F403
from legacy_monolith.settings import MIGRATION_TOOLS as OWN

PLAYBOOKS = [os.environ.get("REPLICA_PLAYBOOK", "tests.replica_playbook")]
ADDRESSES = ("ANALYTICS_URL", "CACHE_URL", "DOCUMENTS_URL")


def stores(analytics: str, cache: str, documents: str = "") -> dict[str, dict[str, str]]:
    """The setting STORES for these addresses."""
    return {
        "analytics": {"ENGINE": "clickhouse", "URL": analytics},
        "cache": {"ENGINE": "redis", "URL": cache},
        "documents": {"ENGINE": "mongodb", "URL": documents},
    }


MIGRATION_TOOLS = {
    **OWN,
    "PLAYBOOKS": PLAYBOOKS,
    "STORES": stores(*(os.environ.get(name, "") for name in ADDRESSES)),
}
