"""Carry bounded contexts out of a Django monolith, each step undone at will, without losing a write."""

__version__ = "0.1.0"

#: What the monolith adds to INSTALLED_APPS.
MONOLITH_APPS = [
    "migration_tools",
    "migration_tools.messaging",
    "migration_tools.capture",
    "migration_tools.state",
    "migration_tools.routing",
]

#: What an extracted service adds to INSTALLED_APPS.
SERVICE_APPS = [
    "migration_tools",
    "migration_tools.messaging",
    "migration_tools.capture",
]

#: What the monolith adds beside MONOLITH_APPS to have the console; needs the extra `console`.
CONSOLE_APPS = ["migration_tools.console"]
