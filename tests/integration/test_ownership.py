"""Who may write what, and which patterns a context needs: from map, playbooks, phases and figures."""

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command

from legacy_monolith.orders.models import Order
from migration_tools.analysis.advice import advise
from migration_tools.analysis.context_file import load_contexts
from migration_tools.analysis.context_map import all_tables
from migration_tools.analysis.findings import Finding
from migration_tools.analysis.report import Analysis, ContextFacts
from migration_tools.analysis.system_of_record import Record, systems_of_record, writer_in
from migration_tools.capture.ownership import read_owner
from migration_tools.errors import AnalysisError
from migration_tools.playbook.registry import load
from migration_tools.state.models import Context
from migration_tools.state.phase import ORDER, Phase
from tests.conftest import SMALL_SHOP, Pair


def records(phase: Phase) -> list[Record]:
    return list(systems_of_record(load_contexts(), load(), {"orders": phase}))


@pytest.mark.parametrize("phase", ORDER)
def test_in_every_phase_every_field_has_exactly_one_writer(phase: Phase) -> None:
    found = records(phase)
    columns = [each.column for each in found]
    assert len(columns) == len(set(columns))
    assert {column.partition(".")[0] for column in columns} == set(all_tables())
    after = ORDER.index(phase) >= ORDER.index(Phase.CUTOVER)
    assert {each.writer for each in found if each.context == "orders"} == {"orders" if after else "monolith"}
    assert {each.writer for each in found if each.context != "orders"} == {"monolith"}
    assert writer_in(phase, "orders") in ("monolith", "orders")


def test_a_copied_name_keeps_its_own_system_of_record() -> None:
    (name,) = [each for each in records(Phase.CUTOVER) if (each.model, each.field) == ("accounts.User", "first_name")]
    assert (name.writer, name.copies) == ("monolith", ("orders:sales_order.customer_name",))
    (status,) = [each for each in records(Phase.CUTOVER) if each.column == "orders_order.status"]
    assert (status.writer, status.copies, status.team) == ("orders", ("orders:sales_order.state",), "sales")
    (price,) = [each for each in records(Phase.CUTOVER) if each.column == "catalog_product.price"]
    assert (price.writer, price.copies) == ("monolith", ("orders:sales_product.price_cents",))


def test_what_is_said_is_what_the_fence_enforces(stage: Any) -> None:
    """The command's answer, and a write by the monolith's role, before the service owns orders and after."""
    from migration_tools.capture.models import Side
    from migration_tools.capture.ownership import set_owner
    from migration_tools.stores.postgres import connect

    def told() -> set[tuple[str, str]]:
        out = StringIO()
        call_command("strangle_sor", "orders", "--format", "json", stdout=out)
        return {(each["writer"], each["enforced_by"]) for each in json.loads(out.getvalue())["records"]}

    def may_write() -> bool:
        try:
            with stage.pair.connect("shop", "shop_app") as conn:
                conn.execute("UPDATE orders_order SET note = 'x' WHERE id = 1")
        except psycopg.Error as error:
            return error.sqlstate != "40S01"
        return True

    Context.objects.update_or_create(name="orders", defaults={"phase": Phase.DUAL_WRITE})
    assert (told(), may_write()) == ({("monolith", "fence")}, True)
    with connect("default", "test") as conn:
        owner = read_owner(conn, "orders")
        assert owner is not None
        set_owner(conn, "orders", Side.TARGET, owner.epoch + 1)
    Context.objects.update_or_create(name="orders", defaults={"phase": Phase.CUTOVER})
    assert (told(), may_write()) == ({("orders", "fence")}, False)
    assert Order.objects.filter(note="x").count() == 1


def test_the_page_names_one_writer_for_every_model_and_field(pair: Pair, tmp_path: Path) -> None:
    Context.objects.update_or_create(name="orders", defaults={"phase": Phase.CUTOVER})
    out, file = StringIO(), tmp_path / "new" / "writers.html"
    call_command("strangle_sor", "--format", "html", "--output", str(file), stdout=out)
    expected = [
        [each.model, each.field, each.writer, "the fence" if each.enforced_by else "nothing", each.column]
        for each in records(Phase.CUTOVER)
    ]
    assert out.getvalue() == f"{len(expected)} fields; written to {file}\n"
    text = file.read_text().replace("<wbr>", "")
    rows = [re.findall(r"<td>([^<]*)", row) for row in re.findall(r"<tr>(<td>.*?)</tr>", text)]
    assert [row[:5] for row in rows] == expected
    assert ["orders.Order", "status", "orders", "the fence", "orders_order.status", "orders:sales_order.state"] in rows
    assert "orders, head of sales (sales), phase cutover</h2>" in text
    assert "1 of 6 contexts has left the monolith" in text
    assert not re.search(r"<script|<link|<img|https?:", text)
    told = StringIO()
    call_command("strangle_sor", "orders", "--format", "markdown", stdout=told)
    assert "orders.Order" in told.getvalue()
    with pytest.raises(CommandError, match="no context is called 'odrers'"):
        call_command("strangle_sor", "odrers")


def analysis(*findings: Finding, **figures: Any) -> Analysis:
    tables = figures.pop("tables", ())
    contexts = (ContextFacts(name="a", tables=("a_t",), **figures), ContextFacts(name="b", tables=("b_t",)))
    return Analysis(project="p", made_at="now", contexts=contexts, findings=findings, tables=tables)


def finding(rule: str, **detail: Any) -> Finding:
    return Finding(rule=rule, source="a", target="b", message="m", tables=("a_t", "b_t"), detail=detail)


def counted(inserted: int, updated: int) -> dict[str, Any]:
    return {"name": "a_t", "context": "a", "inserted": inserted, "updated": updated, "deleted": 0}


@pytest.mark.parametrize(
    ("given", "patterns"),
    [
        (analysis(finding("SFA202", entry="buy", contexts=["a", "b"])), {"saga"}),
        (analysis(finding("SFA201")), {"read model (CQRS)"}),
        (analysis(finding("SFA205")), {"API composition"}),
        (analysis(finding("SFA204")), {"API composition", "batch endpoint"}),
        (analysis(finding("SFA101", model="A", field="b")), {"loose foreign keys"}),
        (analysis(tables=(counted(1000, 3),)), {"event sourcing"}),
        (analysis(tables=(counted(1000, 900),)), set()),
        (analysis(bytes=600_000_000_000), {"sharding"}),
        (analysis(writes_per_second=2500.0), {"sharding"}),
        (analysis(rows=200, scans=90_000, written=3), {"shared data service"}),
        (analysis(), set()),
    ],
)
def test_each_figure_leads_to_its_pattern(given: Analysis, patterns: set[str]) -> None:
    assert {each.pattern for each in advise(given, "a") if each.applies} == patterns


@pytest.mark.parametrize(
    ("regions", "applies"),
    [
        (None, False),
        ({"eu": 1.0}, False),
        ({"eu": 0.95, "us": 0.05}, False),
        ({"eu": 0.6, "us": 0.3, "apac": 0.1}, True),
    ],
)
def test_regions_of_a_tenth_each_lead_to_a_map_by_geography(regions: dict[str, float] | None, applies: bool) -> None:
    [given] = [each for each in advise(analysis(), "a", regions) if each.pattern == "sharding by geography"]
    assert given.applies is applies


def test_the_command_counts_the_rows_of_each_region_as_the_planner_does(pair: Pair) -> None:
    with pair.connect("shop") as shop:
        shop.execute(SMALL_SHOP)
        shop.execute("UPDATE orders_order SET currency = CASE id % 4 WHEN 0 THEN 'USD' ELSE 'EUR' END")
        shop.execute("ANALYZE orders_order")
    out = StringIO()
    call_command("strangle_advise", "orders", region="orders_order.currency", stdout=out)
    said = "yes  sharding by geography: 2 regions have 10% of the rows or more: EUR 75%, USD 25%"
    assert said in out.getvalue()
    with pytest.raises(CommandError, match=r"no common values of 'orders_order\.nothing'"):
        call_command("strangle_advise", "orders", region="orders_order.nothing", stdout=StringIO())


def test_the_command_says_no_with_its_figures_too() -> None:
    out = StringIO()
    call_command("strangle_advise", "orders", no_database=True, stdout=out)
    assert "yes  loose foreign keys: 5 keys cross its border" in out.getvalue()
    assert "no   saga: 0 functions write it and another context in one transaction" in out.getvalue()
    with pytest.raises(CommandError, match="no context is called 'odrers'"):
        call_command("strangle_advise", "odrers", no_database=True)
    with pytest.raises(AnalysisError):
        advise(analysis(), "c")
