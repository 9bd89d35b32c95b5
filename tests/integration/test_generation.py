"""Generated code as its user gets it: linted, typed, migrated, checked, and rows carried by the generated playbook."""

import importlib.util
import json
import sys
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.db.models import CharField
from django.test import override_settings
from django.utils.functional import SimpleLazyObject

from legacy_monolith.orders.models import Order
from migration_tools.analysis.baseline import Baseline
from migration_tools.analysis.context_file import load_contexts
from migration_tools.analysis.foreign_columns import ForeignColumn
from migration_tools.checks import check_columns, check_contexts
from migration_tools.errors import AnalysisError, SeamError
from migration_tools.generation import formatting
from migration_tools.generation.service import render_service
from migration_tools.generation.shape import Column, Shape, shapes_of
from migration_tools.playbook import Playbook
from migration_tools.playbook.registry import get
from migration_tools.playbook.validation import find_static_mistakes
from migration_tools.routing.middleware import is_fenced
from migration_tools.seams.own_code import OwnCodeRouter, moved
from tests import fresh_project
from tests.architecture.tree import ROOT
from tests.conftest import SMALL_SHOP, Pair
from tests.fresh_project import PYTEST, pytest_in, run
from tests.sagas.test_drafts import PURCHASE
from tests.stage import Stage

# The example service has the app label that "orders" would give, and its schema migrations are recorded already.
PACKAGE = "written.sales"
JOIN = """
    SELECT o.id, o.total, o.status, u.email FROM orders_order o JOIN accounts_user u ON u.id = o.user_id
    WHERE o.status = 'placed' ORDER BY o.placed_at LIMIT 20
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a generated service and a generated playbook."""
    root = fresh_project.begin(tmp_path_factory.mktemp("generated"), settings="monolith_settings")
    # As a monolith's: types are held by settings in which the service's models are not installed.
    (root / "monolith_settings.py").write_text(
        '"""Of the monolith."""\n\nSECRET_KEY = __name__\nINSTALLED_APPS = ["django.contrib.contenttypes"]\n'
    )
    call_command("strangle_service", "new", "orders", package=PACKAGE, root=str(root), stdout=StringIO())
    call_command("strangle_init", "orders", output=str(root / "playbook.py"), stdout=StringIO())
    return root


def generated_playbook(root: Path) -> type[Playbook]:
    spec = importlib.util.spec_from_file_location("generated_playbook", root / "playbook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: type[Playbook] = module.Orders
    return found


def test_it_passes_the_projects_own_linter_and_formatter_as_generated(written: Path) -> None:
    fresh_project.lint(written)


def test_a_service_is_checked_beside_the_monolith_s_map_and_baseline(written: Path) -> None:
    """Which name apps and columns that a service has not: its `migrate` and its generator run its checks."""
    root = written / "beside"
    root.mkdir()
    (root / "contexts.toml").write_text('[contexts.sales]\napps = ["orders"]\n')
    gone = ForeignColumn(column="orders_order.gift_wrap", context="payments", function="payments.mail.thank")
    Baseline(frozenset(), frozenset({gone})).save(root / "strangle-baseline.json")
    env = {"PYTHONPATH": f"{written}:{ROOT}", "ORDERS_SECRET_KEY": "x"}
    checked = run("django", "check", cwd=root, DJANGO_SETTINGS_MODULE=f"{PACKAGE}.settings", **env)
    assert checked.returncode == 0, checked.stderr
    with override_settings(BASE_DIR=root, MIGRATION_TOOLS={"SIDE": "monolith"}):
        assert {each.id for each in check_contexts(None)} >= {"strangle.E121"}
        assert [each.id for each in check_columns(None)] == ["strangle.E172"]


@pytest.mark.thorough
def test_what_every_generator_writes_passes_lint_types_and_its_own_tests(written: Path, pair: Pair) -> None:
    with override_settings(MIGRATION_TOOLS={"SIDE": "monolith"}):
        call_command("strangle_projection", "new", "mine", "--from-sql", JOIN, to=str(written), stdout=StringIO())
    trace, draft = written / "trace.json", StringIO()
    trace.write_text(json.dumps({"version": 1, "sent": [], "written": [PURCHASE]}))
    call_command("strangle_sagas", "draft", "--trace", str(trace), stdout=draft)
    (written / "draft.py").write_text(draft.getvalue())
    fresh_project.lint(written)
    env = {"SHOP_DB_NAME": pair.shop, "ORDERS_DB_NAME": pair.orders, "ORDERS_SECRET_KEY": "x"}
    typed = run("mypy", "written", *sorted(each.name for each in written.glob("*.py")), cwd=written, **env)
    assert typed.returncode == 0, typed.stdout + typed.stderr
    for where, settings, passed in (
        ("written", f"{PACKAGE}.settings", 6),
        (".", "legacy_monolith.settings", 3),
    ):
        skipped = ["--ignore", "written"] if where == "." else []
        assert pytest_in(written, where, *skipped, settings=settings, **env).startswith(f"{passed} passed")
    service = written / "written" / "sales"
    for file, right, wrong in (
        ("models.py", "max_digits=12", "max_digits=5"),
        ("api.py", 'ordering = "pk"', 'ordering = "-created"'),
    ):
        text = (service / file).read_text()
        assert right in text
        (service / file).write_text(text.replace(right, wrong))
        try:
            done = run(*PYTEST, "--ds", f"{PACKAGE}.settings", "written", cwd=written, **env)
            assert "1 failed" in done.stdout, f"{wrong} in {file} is seen: {done.stdout[-2000:]}"
        finally:
            (service / file).write_text(text)


def test_the_playbook_has_no_mistake_and_no_key_of_the_models_leads_outside(written: Path) -> None:
    assert find_static_mistakes(generated_playbook(written)) == []
    models = (written / "written" / "sales" / "models.py").read_text()
    assert 'order = models.ForeignKey("Order", related_name="+", on_delete=models.DO_NOTHING' in models
    assert "product_id = models.BigIntegerField(db_index=True)" in models
    assert "accounts" not in models
    contract = json.loads((written / "written" / "sales" / "contracts" / "orders_order.json").read_text())
    assert contract["properties"]["public_id"] == {"type": "string", "format": "uuid"}
    assert contract["properties"]["discount"] == {"type": ["string", "null"], "pattern": r"^-?\d+(\.\d+)?$"}


@pytest.mark.thorough
def test_the_service_migrates_and_the_generated_playbook_carries_the_rows(
    written: Path, pair: Pair, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"DJANGO_SETTINGS_MODULE": f"{PACKAGE}.settings", "ORDERS_SECRET_KEY": "x", "ORDERS_DB_USER": "orders_owner"}
    env |= {
        "ORDERS_DB_NAME": pair.orders,
        "ORDERS_DB_PORT": str(pair.cluster.port),
        "ORDERS_DB_PASSWORD": pair.cluster.password,
    }
    checked = run("django", "check", "--fail-level", "ERROR", cwd=written, **env)
    assert checked.returncode == 0, checked.stderr
    migrated = run("django", "migrate", "-v", "0", cwd=written, **env)
    assert migrated.returncode == 0, migrated.stderr
    schema = run("django", "spectacular", "--validate", "--fail-on-warn", cwd=written, **env)
    assert schema.returncode == 0, schema.stderr
    assert "/api/orders/orderline/{id}/" in schema.stdout

    class Generated(Stage):
        def playbook(self) -> type[Playbook]:
            return generated_playbook(written)

    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
    stage = Generated(pair)
    try:
        stage.settle()
        stage.backfill()
        with pair.connect("shop") as conn:
            conn.execute("UPDATE orders_order SET note = 'written later' WHERE id < 20")
            conn.execute("DELETE FROM orders_orderline WHERE order_id = 30")
        stage.settle()
        for table in ("orders_order", "orders_orderline"):
            assert rows(pair, "shop", table) == rows(pair, "orders", table) != []
        own_code_runs_on_the_services_tables(settings, monkeypatch, generated_playbook(written))
    finally:
        stage.close()


def own_code_runs_on_the_services_tables(settings: Any, monkeypatch: Any, playbook: type[Playbook]) -> None:
    """The monolith's models as a deployment uses them whose SIDE is the context."""
    monkeypatch.setitem(sys.modules, playbook.__module__, SimpleNamespace(Orders=playbook))
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "SIDE": "orders", "PLAYBOOKS": [playbook.__module__]}
    order = Order.objects.select_related(None).prefetch_related("lines").get(pk=10)
    assert order._state.db == "default"
    settings.DATABASE_ROUTERS = ["migration_tools.seams.own_code.OwnCodeRouter"]
    order = Order.objects.select_related(None).prefetch_related("lines").get(pk=10)
    lines = list(order.lines.all())
    assert {order._state.db, *(line._state.db for line in lines)} == {"orders"}
    assert lines
    assert order.user._state.db == "default", "what stays is where it was"
    Order(user=SimpleLazyObject(lambda: order.user))  # a key across the cut may be assigned, as request.user is
    with pytest.raises(OperationalError) as refused:
        Order.objects.filter(pk=10).update(note="not the owner yet")
    assert is_fenced(refused.value), "it was the service's fence that was asked"
    assert not OwnCodeRouter().allow_migrate("orders", "orders")
    assert OwnCodeRouter().allow_migrate("default", "orders") is None


def test_own_code_on_tables_of_other_names_is_refused_with_every_mistake() -> None:
    with pytest.raises(SeamError, match=r"orders\.Order is in 'sales_order' there.*OrderLine is in.*--keep-names"):
        moved(get("orders"))


def test_tables_keep_their_names_and_copies_come_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where no ruff is installed: lines of 120, and the schema migration as Django writes it.
    monkeypatch.setattr(formatting, "_ruff", lambda: None)
    asked = {"keep_names": True, "copies": "accounts.User,catalog.Product", "stdout": StringIO()}
    call_command("strangle_init", "payments", output=str(tmp_path / "playbook.py"), **asked)
    call_command("strangle_service", "new", "payments", package="paid", root=str(tmp_path), **asked)
    text = (tmp_path / "playbook.py").read_text()
    assert 'into="payments_payment"' in text
    assert 'into="accounts_user"' in text
    assert '# a secret of whoever owns the row\n                "password": Value("!"),' in text
    models = (tmp_path / "paid" / "models.py").read_text()
    assert 'db_table = "accounts_user"' in models
    assert "category_id = models." in models, "a copy has no keys of its own"
    options = ["--config", str(ROOT / "pyproject.toml"), "."]
    for check in (["check"], ["format", "--check", "--exclude", "migrations"]):
        assert run("ruff", *check, *options, cwd=tmp_path).returncode == 0
    for labels, message in (("accounts.Usre", "no model is called"), ("payments.Payment", "moves with 'payments'")):
        with pytest.raises(CommandError, match=message):
            call_command("strangle_init", "payments", copies=labels, stdout=StringIO())


def test_a_contract_says_of_a_key_what_its_values_are() -> None:
    def column(field: str, kind: str, **more: Any) -> Column:
        return Column(field=field, source=field, column=field, kind=kind, **{"options": (), **more})

    columns = (
        column("id", "UUIDField", options=(("primary_key", True),)),
        column("parent", "ForeignKey", refers_to="Node", held="UUIDField", options=(("null", True),)),
        column("number", "OneToOneField", refers_to="Node", held="BigIntegerField"),
    )
    shape = Shape(name="Node", table="tree_node", source="tree.Node", source_table="tree_node", columns=columns)
    contract = json.loads(render_service("tree", "tree", [shape])["contracts/tree_node.json"])
    assert contract["properties"] == {
        "id": {"type": "string", "format": "uuid"},
        "parent": {"type": ["string", "null"], "format": "uuid"},
        "number": {"type": "integer"},
    }
    assert contract["required"] == ["id", "number", "parent"]


def test_a_column_that_django_has_no_field_for_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    strange = type("PointField", (CharField,), {"get_internal_type": lambda self: "PointField"})(max_length=3)
    strange.set_attributes_from_name("place")
    monkeypatch.setattr(Order._meta, "local_concrete_fields", [*Order._meta.local_concrete_fields, strange])
    with pytest.raises(AnalysisError, match=r"orders\.Order has columns.*no field for: place \(PointField\)"):
        shapes_of("orders", load_contexts())


def rows(pair: Pair, side: str, table: str) -> list[Any]:
    with pair.connect(side) as conn:
        found: list[Any] = conn.execute(f"SELECT to_jsonb(t)::text FROM {table} t ORDER BY id").fetchall()
        return found


def test_nothing_is_written_over_and_what_is_not_there_is_named(written: Path) -> None:
    with pytest.raises(CommandError, match="exists; remove it"):
        call_command("strangle_init", "orders", output=str(written / "playbook.py"))
    with pytest.raises(CommandError, match="exists; remove it"):
        call_command("strangle_service", "new", "orders", package=PACKAGE, root=str(written))
    with pytest.raises(CommandError, match="no context is called 'odrers'; those with tables are"):
        call_command("strangle_init", "odrers")
    with pytest.raises(AnalysisError, match="has no models"):
        shapes_of("reporting", load_contexts())
