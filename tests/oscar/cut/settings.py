"""Oscar on its way: the same code as the monolith, and, where OSCAR_SIDE names a context, on that service's tables."""

import os

from tests.oscar.settings import *  # noqa: F403
from tests.oscar.settings import DATABASES, MIDDLEWARE, MIGRATION_TOOLS

SIDE = os.environ.get("OSCAR_SIDE", "monolith")
CONTEXTS = os.environ.get("OSCAR_CONTEXTS", "order").split(",")
ADDRESSES = {name: os.environ.get(f"{name.upper()}_ADDRESS", "") for name in ("monolith", *CONTEXTS)}
FEEDS = {name: os.environ.get(f"{name.upper()}_FEED_ADDRESS", "") for name in CONTEXTS}
TOKENS = {name: os.environ.get(f"FEED_TOKEN_{name.upper()}", "") for name in ("monolith", *CONTEXTS)}

for context in CONTEXTS:
    if f"{context.upper()}_DB_NAME" in os.environ:
        DATABASES[context] = DATABASES["default"] | {
            key: os.environ[f"{context.upper()}_DB_{key}"] for key in ("HOST", "PORT", "NAME", "USER", "PASSWORD")
        }

ROOT_URLCONF = "tests.oscar.cut.urls"
MIDDLEWARE = [
    "migration_tools.routing.middleware.StrictFenceMiddleware",  # oscar's checkout catches every exception
    "migration_tools.routing.own_writes.middleware.OwnWritesMiddleware",
    *MIDDLEWARE,
]
MIGRATION_TOOLS = MIGRATION_TOOLS | {
    "SIDE": SIDE,
    "PLAYBOOKS": [f"tests.oscar.cut.{name}" for name in CONTEXTS],
    "FEED_TOKENS": {name: TOKENS[name] for name in CONTEXTS if TOKENS[name]},
    "FEEDS": {name: {"url": f"http://{FEEDS[name]}/strangle/feed/", "token": TOKENS["monolith"]} for name in CONTEXTS},
    "UPSTREAMS": {name: address for name, address in ADDRESSES.items() if address},
}
if SIDE != "monolith":
    MIGRATION_TOOLS["DATABASE"] = SIDE
    DATABASE_ROUTERS = ["migration_tools.seams.own_code.OwnCodeRouter"]
