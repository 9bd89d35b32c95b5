"""The monolith's settings with the event store beside, for the tests of it."""

from legacy_monolith import settings as monolith
from legacy_monolith.settings import *  # noqa: F403

INSTALLED_APPS = [*monolith.INSTALLED_APPS, "migration_tools.eventstore"]
