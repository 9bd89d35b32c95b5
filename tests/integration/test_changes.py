"""Changes of the log written as Debezium's events: their shape, and read back they make the same table."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from migration_tools.kernel import points
from tests.integration.test_foreign import crm, die, site

__all__ = ["crm", "site"]

MIRROR = {"FORMAT": "debezium", "TABLES": {"public.crm_customer": {"into": "crm_mirror"}}}
ALL = "SELECT * FROM {} ORDER BY id"


@pytest.fixture
def mirror(crm: Any, settings: Any) -> Iterator[Any]:
    """A second table that follows the first by its log alone."""
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "FOREIGN": {"mirror": MIRROR}}
    crm.execute("CREATE TABLE crm_mirror (LIKE crm_customer INCLUDING ALL)")
    call_command("strangle_changes", "mirror", "--create", "--table", "crm_customer")
    yield crm
    call_command("strangle_changes", "mirror", "--drop")


def carried(path: Any) -> list[dict[str, Any]]:
    """Write what the log has to a file of lines and apply it; the lines."""
    with path.open("w") as lines:
        call_command("strangle_changes", "mirror", "--prefix", "shop", stdout=lines)
    call_command("strangle_ingest", "mirror", "--file", str(path), stdout=io.StringIO())
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
def test_what_we_write_as_debezium_does_is_read_back_the_same(mirror: Any, tmp_path: Any, identity: str) -> None:
    mirror.execute(f"ALTER TABLE crm_customer REPLICA IDENTITY {identity}")
    large = "x" * 9_000
    mirror.execute(
        """INSERT INTO crm_customer SELECT n, 'e' || n, date '1969-12-31' + n,
               timestamptz '2024-02-29 12:00:00.000001+02',
               n / 7.0, jsonb_build_object('n', n, 'large', (SELECT string_agg(md5(m::text), '')
               FROM generate_series(1, 600) m)), '\\x00ff', ARRAY['ü', NULL, '"'], n % 2 = 0
           FROM generate_series(1, 30) n"""
    )
    mirror.execute("UPDATE crm_customer SET email = %s WHERE id = 3", [large])
    mirror.execute("UPDATE crm_customer SET vip = NULL WHERE id < 9")
    if identity == "DEFAULT":
        # Else the row of the new key would be without it: the log has the large values of the old row only if FULL.
        mirror.execute("UPDATE crm_customer SET notes = '[]' WHERE id = 4")
    mirror.execute("UPDATE crm_customer SET id = 1000 WHERE id = 4")
    mirror.execute("DELETE FROM crm_customer WHERE id BETWEEN 10 AND 15")
    carried(tmp_path / "lines")
    assert mirror.execute(ALL.format("crm_mirror")).fetchall() == mirror.execute(ALL.format("crm_customer")).fetchall()
    assert carried(tmp_path / "more") == []


def test_an_event_has_debeziums_shape(mirror: Any, tmp_path: Any) -> None:
    mirror.execute("INSERT INTO crm_customer (id, email, credit) VALUES (1, 'a', 1.50)")
    mirror.execute("DELETE FROM crm_customer WHERE id = 1")
    created, deleted, tombstone = carried(tmp_path / "lines")
    payload = created["value"]["payload"]
    assert created["topic"] == deleted["topic"] == tombstone["topic"] == "shop.public.crm_customer"
    assert created["key"] == deleted["key"] == tombstone["key"] == {"id": 1}
    assert tombstone["value"] is None
    assert (payload["op"], payload["before"], payload["after"]["credit"]) == ("c", None, "1.50")
    assert deleted["value"]["payload"]["before"]["id"] == 1
    source = payload["source"]
    assert {"connector", "name", "db", "schema", "table", "txId", "lsn", "ts_ms", "snapshot"} <= set(source)
    assert source["lsn"] < deleted["value"]["payload"]["source"]["lsn"]
    assert [field["field"] for field in created["value"]["schema"]["fields"]][:4] == ["before", "after", "source", "op"]


def test_a_tail_killed_before_it_acknowledges_repeats_and_nothing_is_applied_twice(mirror: Any, tmp_path: Any) -> None:
    mirror.execute("INSERT INTO crm_customer (id, email) VALUES (1, 'once')")
    with points.on("tail.handed_out", die), pytest.raises(CommandError, match="killed"):
        carried(tmp_path / "first")
    call_command("strangle_ingest", "mirror", "--file", str(tmp_path / "first"), stdout=io.StringIO())
    assert len(carried(tmp_path / "second")) == 1
    assert mirror.execute("SELECT email FROM crm_mirror").fetchall() == [("once",)]
