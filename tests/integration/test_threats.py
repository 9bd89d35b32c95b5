"""Rows of SECURITY.md that no other test holds, and that each row cites tests which there are."""

import ast
import json
import re
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.test import Client, override_settings

from migration_tools.errors import TransferError
from migration_tools.messaging.batch import Batch, RelationHead, RowRecord
from migration_tools.messaging.publication import Publication
from migration_tools.stores.postgres import connect
from migration_tools.testing.memory import MemoryBroker, MemoryTransport
from migration_tools.transfer.sync import TableWriter
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


@pytest.mark.parametrize("columns", [("id", "is_superuser"), ("id", "password")])
def test_a_batch_that_a_service_forges_reaches_no_table_that_is_not_its_context_s(
    stage: Stage, columns: tuple[str, str]
) -> None:
    """Its own code serves its feed, so it may say anything there: also of a table that the monolith captures."""
    head = RelationHead(table="accounts_user", key=("id",), columns=columns, rank=0, owned=False, patch=False)
    for patch in (False, True):
        row = RowRecord(
            position=1, kind="p" if patch else "r", relation=1, key=("1",), values=("1", "true"), occurred=0.0
        )
        with (
            connect("default", "test") as conn,
            pytest.raises(TransferError, match="'accounts_user', which no batch may write here"),
            conn.transaction(),
        ):
            TableWriter().apply(conn, STREAM, {1: replace(head, patch=patch)}, [row])


def test_who_has_no_account_reads_neither_feed_nor_metrics_nor_console(stage: Stage) -> None:
    tools = {**settings.MIGRATION_TOOLS, "FEED_TOKENS": {"orders": "f" * 20}, "METRICS_TOKEN": "m" * 20}
    with override_settings(MIGRATION_TOOLS=tools):
        for url, right in (("/strangle/feed/orders/?after=0&limit=1", "f" * 20), ("/strangle/metrics/", "m" * 20)):
            for given in (None, "", "Bearer ", "Bearer x", "Basic " + right, "Bearer " + "fm"["m" in right] * 20):
                headers = {} if given is None else {"Authorization": given}
                answer: Any = Client().get(url, headers=headers)
                assert answer.status_code == (200 if given == f"Bearer {right}" else 401), (url, given)
    page: Any = Client().get("/strangle/console/orders/")
    assert page.status_code == 302
    assert "/login/" in page.headers["location"]


def test_the_owner_may_bear_the_mark_and_drop_the_fence_and_the_operator_is_both_owners(stage: Stage) -> None:
    """What the fence does not protect from, as the page says."""
    stage.backfill()
    write = "UPDATE sales_order SET remark = 'early' WHERE id = 1"
    for user in ("orders_owner", "strangler"):
        with stage.pair.connect("orders", user) as conn:
            with pytest.raises(psycopg.OperationalError) as caught:
                conn.execute(write)
            assert caught.value.sqlstate == "40S01"
            with conn.transaction(force_rollback=True):
                conn.execute("SELECT set_config('strangle.applying', 'row', true)")
                assert conn.execute(write).rowcount == 1
            with conn.transaction(force_rollback=True):
                conn.execute("ALTER TABLE sales_order DISABLE TRIGGER USER")
                assert conn.execute(write).rowcount == 1
    with stage.pair.connect("shop", "strangler") as conn:
        found = conn.execute("SELECT pg_has_role('shop_owner', 'MEMBER'), pg_has_role('orders_owner', 'MEMBER')")
        assert found.fetchone() == (True, True)


@pytest.mark.parametrize("table", ["strangle_routing_proxy", "strangle_routing_traffic", "strangle_routing_head"])
def test_an_application_s_role_cannot_confirm_routes_for_the_proxy(stage: Stage, table: str) -> None:
    with stage.pair.connect("shop", "shop_app") as conn:
        conn.execute(f"SELECT count(*) FROM {table}")
        for statement in (f"DELETE FROM {table}", f"INSERT INTO {table} SELECT * FROM {table}"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement)


def test_every_row_of_the_threat_model_is_held_by_tests_that_there_are() -> None:
    rows = cited((ROOT / "SECURITY.md").read_text())
    assert len(rows) >= 20
    assert {who: missing for who, nodes in rows.items() if (missing := [n for n in nodes if not is_test(n)])} == {}
    assert [who for who, nodes in rows.items() if not nodes] == []


def test_a_citation_of_a_file_alone_or_of_a_test_that_is_not_there_is_found() -> None:
    text = "| a | held by |\n|---|---|\n| who | `tests/integration/test_threats.py` |\n"
    assert cited(text) == {"who": ["tests/integration/test_threats.py"]}
    ours = "tests/integration/test_threats.py"
    assert not is_test(ours)
    assert not is_test(f"{ours}::test_that_is_not_there")
    assert not is_test("tests/no_such_file.py::test_x")
    assert is_test(f"{ours}::test_who_reads_the_broker_reads_mapped_columns_and_nothing_else_of_the_shop")
    assert is_test("migration_tools/testing/transports.py::TransportConformance::test_holes_are_filled_from_the_feed")
    assert not is_test("migration_tools/testing/transports.py::test_holes_are_filled_from_the_feed")


def cited(text: str) -> dict[str, list[str]]:
    """Who → the node ids that hold its row, of all tables that say `held by`."""
    tables = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    rows = [cells for cells in tables if "held by" not in cells[-1] and not set(cells[-1]) <= {"-"}]
    found: dict[str, list[str]] = {}
    for cells in rows:
        found.setdefault(cells[0], []).extend(re.findall(r"`([^`]+)`", cells[-1]))
    return found


def is_test(node: str) -> bool:
    """Whether `file::Class::test` or `file::test` is defined there, as the syntax tree has it."""
    file, *names = node.split("::")
    if not names or not names[-1].startswith("test_") or not (ROOT / file).is_file():
        return False
    body: list[ast.stmt] = ast.parse((ROOT / file).read_text()).body
    for name in names:
        found = [each for each in body if isinstance(each, ast.FunctionDef | ast.ClassDef) and each.name == name]
        if not found:
            return False
        body = found[0].body
    return True
