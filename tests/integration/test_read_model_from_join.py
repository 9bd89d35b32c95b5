"""A read model written from a JOIN passes lint and its own test as written, and says why when none can be made."""

import importlib
import json
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from migration_tools.messaging import handlers
from migration_tools.projections import registry
from migration_tools.projections.joins import read_join
from migration_tools.testing.joins import JoinDiffers
from tests import fresh_project
from tests.conftest import Pair

# The seeds' own query, in this shop's names; what Django's ORM sends; and a chain of references with a filter.
SEED = """
    SELECT o.id, u.last_name, p.name
    FROM orders_orderline l, orders_order o, accounts_user u, catalog_product p
    WHERE o.user_id = u.id AND l.product_id = p.id AND l.order_id = o.id
"""
ORM = """
    SELECT "orders_order"."id", "orders_order"."public_id", "orders_order"."status", "orders_order"."total",
           "orders_order"."placed_at", "accounts_user"."id", "accounts_user"."email"
    FROM "orders_order" INNER JOIN "accounts_user" ON ("orders_order"."user_id" = "accounts_user"."id")
    WHERE "orders_order"."status" = 'placed' ORDER BY "orders_order"."placed_at" DESC LIMIT 20
"""
CHAIN = """
    SELECT l.id AS line, l.quantity, o.public_id, o.total, c.name AS shelf, p.active, u.first_name, p.sku
    FROM orders_orderline l
    JOIN orders_order o ON o.id = l.order_id
    LEFT JOIN accounts_user u ON o.user_id = u.id
    JOIN catalog_product p ON p.id = l.product_id
    JOIN catalog_category c ON c.id = p.category_id
"""
UNFILTERED = ORM.partition("WHERE")[0]


def new(tmp_path: Path, query: str, *args: str, module: str = "made") -> str:
    out = StringIO()
    with override_settings(MIGRATION_TOOLS={"SIDE": "monolith"}):
        call_command(
            "strangle_projection", "new", "order_list", "--from-sql", query, "--to", str(tmp_path), "--module", module,
            *args, stdout=out,
        )  # fmt: skip
    return out.getvalue()


@pytest.mark.parametrize(
    "query", [SEED, ORM, pytest.param(CHAIN, marks=pytest.mark.thorough)], ids=["seed", "orm", "chain"]
)
def test_what_is_written_passes_lint_and_equals_the_join_on_random_data(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.setattr(handlers, "_registry", {})
    monkeypatch.setattr(registry, "_registry", {})
    fresh_project.begin(tmp_path)
    module = f"made_{tmp_path.name.replace('-', '_')}"
    assert "run the test, then strangle_rebuild order_list" in new(tmp_path, query, module=module)
    fresh_project.lint(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    test: Any = importlib.import_module("test_order_list")
    try:
        test.test_order_list_equals_the_join(None)
        wrong = test.QUERY.replace("u.last_name", "u.first_name").replace('"total"', '"id"')
        wrong = wrong.replace("l.quantity", "l.id")
        assert wrong != test.QUERY
        with pytest.raises((JoinDiffers, Exception)) as told:
            test.assert_equals_join(f"{module}.OrderList", wrong, test.SOURCES, shows=test.SHOWS)
        assert told.type.__name__ in {"JoinDiffers", "UndefinedColumn"}
    finally:
        for name in (module, "test_order_list"):
            sys.modules.pop(name, None)


def test_a_comparison_with_a_value_becomes_an_index_and_is_left_to_the_query(pair: Pair, tmp_path: Path) -> None:
    new(tmp_path, ORM)
    text = (tmp_path / "made.py").read_text()
    assert '("status",),' in text
    columns = {"id": "bigint", "public_id": "uuid", "status": "text", "total": "numeric", "placed_at": "timestamptz"}
    for name, kind in columns.items():
        assert f'"{name}": ' + (f'"{kind}"' if name == "id" else f'Latest("{kind}")') in text
    assert "placed" not in text.replace("placed_at", "")
    assert 'source="accounts"' in text


def test_streams_are_named_and_files_are_never_overwritten(pair: Pair, tmp_path: Path) -> None:
    assert 'stream="people"' in new(tmp_path, UNFILTERED, "--stream", "accounts_user=people", "--dry-run")
    assert list(tmp_path.iterdir()) == []
    new(tmp_path, UNFILTERED)
    with pytest.raises(CommandError, match="is there already"):
        new(tmp_path, UNFILTERED)


REFUSED = [
    ("UPDATE orders_order SET total = 1", "it is a UPDATE; give a SELECT"),
    ("SELECT FROM WHERE", "it cannot be parsed"),
    ("SELECT o.user_id, count(*) FROM orders_order o GROUP BY 1", "it has GROUP BY.*it shows 'COUNT"),
    ("SELECT o.* FROM orders_order o", "show columns by name"),
    ("SELECT o.id, p.sku FROM orders_order o, catalog_product p", "nothing joins 'p'"),
    ("SELECT id FROM orders_order o JOIN accounts_user u ON u.id = o.user_id", "does not say whose 'id' is"),
    (
        "SELECT o.id, u.email FROM orders_order o JOIN accounts_user u ON u.email = o.note",
        "'u' is joined by 'email'; a row is referred to by its key, 'id'",
    ),
    ("SELECT o.id FROM order_orders o", "'order_orders' is not there"),
    ("SELECT o.idd FROM orders_order o", "'orders_order' has no column 'idd'"),
    (
        "SELECT a.id FROM orders_order a JOIN orders_order b ON a.id = b.id RIGHT JOIN accounts_user u ON u.id = a.id",
        "RIGHT JOIN.*'orders_order' is joined twice",
    ),
]


def test_a_query_of_which_none_can_be_made_is_refused_with_every_reason(pair: Pair, tmp_path: Path) -> None:
    for query, said in REFUSED:
        with pytest.raises(CommandError, match=f"(?s){said}"):
            new(tmp_path, query)
    assert list(tmp_path.iterdir()) == []


def test_a_shape_names_the_rows_and_what_they_refer_to() -> None:
    shape = read_join(SEED)
    assert (shape.root, shape.links["u"], shape.links["o"]) == ("l", ("o", "user_id", "id"), ("l", "order_id", "id"))


SENT = {
    "context": "orders",
    "function": "legacy_monolith.orders.pages.mine",
    "place": {"file": "legacy_monolith/orders/pages.py", "line": 12},
    "count": 7,
    "most": 1,
}
SHAPE = " ".join(ORM.replace("'placed'", "$1").replace("20", "$1").split())
COUNTED = "SELECT COUNT(*) FROM orders_order o JOIN accounts_user u ON u.id = o.user_id"


def trace_of(path: Path, *shapes: str) -> str:
    """A trace's file, as the listeners write it; the first shape is sent from two lines."""
    sent: list[dict[str, Any]] = [{**SENT, "shape": shape} for shape in shapes]
    sent += [{**sent[0], "place": {"file": "legacy_monolith/orders/api.py", "line": 3}, "count": 4}]
    path.write_text(json.dumps({"version": 1, "sent": sent, "written": []}))
    return str(path)


def asked(*args: str) -> str:
    out = StringIO()
    with override_settings(MIGRATION_TOOLS={"SIDE": "monolith"}):
        call_command("strangle_projection", *args, stdout=out)
    return out.getvalue()


def test_an_observed_join_becomes_a_read_model_by_its_number_or_id(pair: Pair, tmp_path: Path) -> None:
    trace = trace_of(tmp_path / "trace.json", SHAPE, COUNTED)
    told = json.loads(asked("observed", "--trace", trace, "--format", "json"))["joins"]
    assert [(each["count"], bool(each["mistakes"])) for each in told] == [(11, False), (7, True)]
    assert told[0]["id"].startswith("SFA201-")
    text = asked("observed", "--trace", trace)
    assert "accounts_user ⋈ orders_order  11 times" in text
    assert "no read model: it shows 'COUNT(*)'" in text
    assert "2 JOINs over several contexts; a read model can be made of 1" in text
    by_id = asked("new", "mine", "--trace", trace, "--join", told[0]["id"], "--dry-run")
    assert 'name="mine_accounts_user"' in by_id
    assert by_id == asked("new", "mine", "--trace", trace, "--dry-run"), "the only one that fits need not be named"
    with pytest.raises(CommandError, match="it shows 'COUNT"):
        asked("new", "mine", "--trace", trace, "--join", "2")
    with pytest.raises(CommandError, match="no observed JOIN is '3'"):
        asked("new", "mine", "--trace", trace, "--join", "3")
    with pytest.raises(CommandError, match="of 2 observed JOINs a read model can be made; choose one with --join"):
        asked("new", "mine", "--trace", trace_of(tmp_path / "two.json", SHAPE, " ".join(SEED.split())))
    with pytest.raises(CommandError, match="give either --from-sql, or --trace or --report"):
        asked("new", "mine", "--trace", trace, "--from-sql", SEED)


def test_the_report_of_an_analysis_holds_the_same_joins(pair: Pair, tmp_path: Path) -> None:
    trace, report = trace_of(tmp_path / "trace.json", SHAPE, COUNTED), str(tmp_path / "report.json")
    call_command("strangle_analyze", "--trace", trace, "--no-database", "--format", "json", "--output", report)
    assert asked("observed", "--report", report) == asked("observed", "--trace", trace)
    with pytest.raises(CommandError, match="is no report; make one with"):
        asked("observed", "--report", trace)
