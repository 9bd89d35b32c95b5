"""The monolith's settings with a saga of its own, for the processes of the console's scene."""

import os
from typing import Any

from legacy_monolith.settings import *  # noqa: F403
from legacy_monolith.settings import INSTALLED_APPS, MIGRATION_TOOLS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.console"]
COMMANDS: Any = MIGRATION_TOOLS["SERVICE_COMMANDS"]
# The code of the orders service, on a database that no playbook names.
ANNEX = ["env", f"ORDERS_DB_NAME={os.environ.get('ANNEX_DB_NAME', '')}", *COMMANDS["orders"][1:]]
MIGRATION_TOOLS = {**MIGRATION_TOOLS, "SERVICE_COMMANDS": {**COMMANDS, "annex": ANNEX}}
