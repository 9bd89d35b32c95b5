"""Rows of SECURITY.md's threat model that no other test holds: what the broker's reader learns, who cites what."""

import json
import re

from migration_tools.messaging.batch import Batch
from migration_tools.messaging.publication import Publication
from migration_tools.stores.postgres import connect
from migration_tools.testing.memory import MemoryBroker, MemoryTransport
from tests.conftest import ROOT
from tests.stage import STREAM, Stage

MAPPED, UNMAPPED = "canary-of-a-mapped-column", "canary-of-a-column-that-no-playbook-maps"


def test_who_reads_the_broker_reads_mapped_columns_and_nothing_else_of_the_shop(stage: Stage) -> None:
    """A customer's password and address stand in a table whose name column is carried; they never travel."""
    stage.shop.execute(
        "UPDATE accounts_user SET first_name = %s, email = %s, password = %s WHERE id = 1",
        [MAPPED, f"{UNMAPPED}@example.com", UNMAPPED],
    )
    stage.shop.execute("UPDATE catalog_product SET name = %s, attributes = %s", [MAPPED, json.dumps({"x": UNMAPPED})])
    stage.shop.execute("UPDATE orders_order SET note = 'written' WHERE user_id = 1")
    stage.tick()
    heard: list[str] = []

    # What a reader of the broker has: every body that passes.
    broker = MemoryBroker(deliver=lambda body: [heard.append(body) or body])  # type: ignore[func-returns-value]
    transport = MemoryTransport("memory://threats")
    transport.broker = broker
    transport.subscription(STREAM, origin="monolith", consumer="orders").receive(0)
    publication = Publication(STREAM, transport.publisher(STREAM, origin="monolith"), alias="default")
    with connect("default", "test") as conn:
        while publication.step(conn):
            pass
    rows = [row for body in heard for row in Batch.from_json(body).rows]
    assert len(rows) > 10
    said = "".join(heard)
    assert MAPPED in said
    assert UNMAPPED not in said


def test_every_row_of_the_threat_model_is_held_by_tests_that_there_are() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    tables = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    rows = [cells for cells in tables if "held by" not in cells[-1] and not set(cells[-1].strip()) <= {"-"}]
    assert len(rows) >= 15
    for cells in rows:
        cited = re.findall(r"`([^`]+)`", cells[-1])
        assert cited, f"nothing holds the row of {cells[0].strip()!r}"
        for name in cited:
            found = f"def {name}(" in sources if name.startswith("test_") else (ROOT / name).is_file()
            assert found, f"{cells[0].strip()!r} cites {name}, which is not there"
