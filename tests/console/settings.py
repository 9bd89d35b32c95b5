"""The monolith's settings with a saga of its own, for the processes of the console's scene."""

from legacy_monolith.settings import *  # noqa: F403
from legacy_monolith.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.console"]
