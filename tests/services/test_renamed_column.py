"""The users service renames a column and releases a version of its event; the orders service stays as it is."""

import filecmp
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import ROOT
from tests.services import rig
from tests.services.rig import FEED_TOKEN_MONOLITH, RunningService

pytest_plugins = ["tests.services.rig"]
pytestmark = pytest.mark.thorough

Get = Callable[[str], RunningService]

RENAME = '''"""A given name is a forename from now on."""
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("users_service", "0003_public_ids")]
    operations = [migrations.RenameField("person", "given_name", "forename")]
'''
SECOND = '''

@event("user.renamed", stream="users", version=2)
@dataclass(frozen=True, kw_only=True)
class UserRenamedByParts:
    """Somebody is called otherwise from now on, by parts."""

    user_id: int
    name: str
    version: int = 0
    forename: str


@upcasts("user.renamed", stream="users", since=1)
def by_parts(payload):
    return {**payload, "forename": payload["name"].partition(" ")[0]}
'''
ADA = {"user_id": 7, "name": "Ada Lovelace"}
GOLDEN = [{"payload": ADA, "lifted": {**ADA, "forename": "Ada"}}]

RENAMED = """
from extracted_services.users import people
people.rename({number}, {{"{column}": "{name}"}})
"""
# In a process of the orders service, by its own handlers as they are.
HEAR = """
from django.db import transaction
from migration_tools.messaging.handlers import find
from migration_tools.testing.deliveries import sample
event = sample("user.renamed", {said!r}, stream="users", aggregate_type="user", aggregate_id=1, version={version})
with transaction.atomic():
    for handler, lifted in find(event, "names"):
        handler.function(lifted)
"""
# In a process that has the new contracts: a reader who has gone over to the new version.
READ = """
import json
from migration_tools.messaging.handlers import find, handles
from migration_tools.testing.deliveries import sample
import extracted_services.users.contracts
taken = []
handles("user.renamed", stream="users", versions=(2, 2), group="readers")(lambda event: taken.append(event.payload))
event = sample("user.renamed", {said!r}, stream="users", aggregate_type="user", aggregate_id=1, version={version})
for handler, lifted in find(event, "readers"):
    handler.function(lifted)
print(json.dumps(taken))
"""


COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_name = 'people_person'"
ORDER = """INSERT INTO sales_order (public_id, customer_id, customer_name, state, total_cents, currency, reference,
    ship_to, ordered_at, modified_at)
    VALUES (gen_random_uuid(), %s, 'Ada Lovelace', 'placed', 1, 'EUR', '', '{}', now(), now())"""
NAMES = """SELECT o.customer_name, c.name FROM sales_order o JOIN sales_customer c ON c.id = o.customer_id
    WHERE o.customer_id = %s"""


class NextRelease:
    """The users service as its team would release it next: a copy in which one column has another name."""

    def __init__(self, place: Path) -> None:
        self.place = place
        for name in ("extracted_services", "playbooks"):
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "manage.py", place)
        self.users = place / "extracted_services" / "users"
        for path in self.users.glob("*.py"):
            path.write_text(path.read_text().replace("given_name", "forename"))
        (self.users / "migrations" / "0004_forename.py").write_text(RENAME)

    def manage(self, service: RunningService, *args: str, ends: int = 0) -> str:
        """Run manage.py of this release on the service's database, as its owner, to its expected end."""
        env = {**rig.environment("users", service.database, "owner"), "PYTHONPATH": f"{self.place}:{ROOT}"}
        command = [sys.executable, "manage.py", *args, "--settings", "extracted_services.users.settings"]
        done = subprocess.run(
            command, cwd=self.place, env=env, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == ends, done.stdout + done.stderr
        return done.stdout

    def release_second_version(self, service: RunningService) -> None:
        """Declare and release version 2 of `user.renamed` with its upcaster; the first is still what is published."""
        contracts = self.users / "contracts.py"
        text = contracts.read_text() + SECOND
        head = "from migration_tools.contracts.declaration import event\n"
        contracts.write_text(text.replace(head, f"{head}from migration_tools.contracts.upcasting import upcasts\n"))
        golden = self.place / "playbooks" / "contracts" / "user.renamed" / "golden" / "1.json"
        golden.parent.mkdir()
        golden.write_text(json.dumps(GOLDEN))
        self.manage(service, "strangle_contracts", "release", "--directory", "playbooks/contracts")


def last_event(service: RunningService) -> tuple[dict[str, Any], int]:
    published = "SELECT payload, event_version FROM strangle_outbox WHERE event_type = 'user.renamed' ORDER BY seq DESC"
    payload, version = service.rows(published)[0]
    return payload, version


def test_a_column_of_users_is_renamed_and_orders_hear_old_and_new_events_untouched(
    cluster: Any, running: Get, tmp_path: Path
) -> None:
    orders = running("orders")

    def orders_hear(said: dict[str, Any], version: int) -> subprocess.CompletedProcess[str]:
        return orders.manage("shell", "-v0", "-c", HEAR.format(said=said, version=version))

    with rig.served(cluster, "users") as users:
        headers = {"Authorization": f"Bearer {FEED_TOKEN_MONOLITH}"}
        body = {"email": "ada@example.com", "password": "long enough", "first_name": "Ada", "last_name": "Lovelace"}
        with httpx2.Client(base_url=users.url, headers=headers, timeout=30) as monolith:
            number = monolith.post("/internal/accounts/", json=body).json()["id"]
        with users.browser(number) as browser:
            assert browser.patch("/api/accounts/me/", json={"first_name": "Augusta"}).status_code == 200
        old, version = last_event(users)
        assert (old, version) == ({"user_id": number, "name": "Augusta Lovelace", "version": 2}, 1)
        orders.rows(ORDER, number)
        assert orders_hear(old, version).returncode == 0
        assert orders.rows(NAMES, number) == [("Augusta Lovelace", "Augusta Lovelace")]

        release = NextRelease(tmp_path)
        release.manage(users, "makemigrations", "users_service", "--check", "--dry-run")
        release.manage(users, "migrate", "-v0")
        columns = [name for (name,) in users.rows(COLUMNS)]
        assert "forename" in columns
        assert "given_name" not in columns
        for api in ([], ["--api"]):
            release.manage(users, "strangle_contracts", "check", *api, "--directory", "playbooks/contracts")
        release.manage(users, "shell", "-v0", "-c", RENAMED.format(number=number, column="forename", name="Byron"))
        new, version = last_event(users)
        assert (new, version) == ({"user_id": number, "name": "Byron Lovelace", "version": 3}, 1)
        assert orders_hear(new, version).returncode == 0
        assert orders.rows(NAMES, number) == [("Byron Lovelace", "Byron Lovelace")]

        release.release_second_version(users)
        for said, forename in ((old, "Augusta"), (new, "Byron")):
            told = release.manage(users, "shell", "-v0", "-c", READ.format(said=said, version=1))
            assert json.loads(told) == [{**said, "forename": forename}], "who has gone over reads old events lifted"
        # Readers first: what is published in the new version before they know it waits for them, and is not lost.
        early = orders_hear({**new, "forename": "Byron"}, 2)
        assert early.returncode != 0
        assert "no handler in 'extracted_services.orders.handlers' takes 'user.renamed' in version 2" in early.stderr

        # And a rename that would reach the others does not get past the check.
        contracts = release.users / "contracts.py"
        contracts.write_text(contracts.read_text().replace("    name: str\n", "    called: str\n", 1))
        release.manage(users, "strangle_contracts", "check", "--directory", "playbooks/contracts", ends=3)
    untouched = filecmp.dircmp(ROOT / "extracted_services" / "orders", tmp_path / "extracted_services" / "orders")
    assert (untouched.diff_files, untouched.right_only) == ([], [])
