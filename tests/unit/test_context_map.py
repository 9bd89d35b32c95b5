"""The context map: by app labels, from a file, and every mistake of a file at once."""

from pathlib import Path

import pytest
from django.test import override_settings

from migration_tools.analysis.context_file import find_map_mistakes, load_contexts
from migration_tools.analysis.context_map import all_tables, by_app_labels
from migration_tools.checks import check_contexts
from migration_tools.errors import AnalysisError
from tests.architecture.tree import ROOT

SHOP = ROOT / "legacy_monolith" / "contexts.toml"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "contexts.toml"
    path.write_text(text)
    return path


def test_without_a_file_the_app_labels_are_the_contexts(tmp_path: Path) -> None:
    contexts = load_contexts(tmp_path / "nothing.toml")
    assert contexts.of_table("orders_order") == "orders"
    assert contexts.of_table("accounts_user_groups") == "accounts"
    assert contexts.of_table("strangle_outbox") is None
    assert contexts.of_module("legacy_monolith.orders.api") == "orders"
    assert contexts.of_module("legacy_monolith.health") is None
    assert contexts.is_project("legacy_monolith.health")
    assert not contexts.is_project("django.db.models")
    assert contexts.is_framework("sessions")


@pytest.mark.parametrize("load", [by_app_labels, lambda: load_contexts(SHOP)], ids=["labels", "file"])
def test_every_table_is_in_exactly_one_context(load: object) -> None:
    contexts = load()  # type: ignore[operator]
    for table in all_tables():
        assert [name for name, each in contexts.contexts.items() if table in each.tables] == [contexts.of_table(table)]


def test_a_model_named_by_itself_leaves_its_app(tmp_path: Path) -> None:
    text = SHOP.read_text().replace('apps = ["payments"]', 'apps = ["payments"]\nmodels = ["orders.OrderLine"]')
    contexts = load_contexts(written(tmp_path, text))
    assert contexts.of_table("orders_orderline") == "payments"
    assert contexts.of_table("orders_order") == "orders"


def test_one_context_may_go_to_several_services_and_two_may_be_merged(tmp_path: Path) -> None:
    text = SHOP.read_text().replace('services = ["orders"]', 'services = ["orders", "shipping"]')
    contexts = load_contexts(written(tmp_path, text))
    assert contexts.contexts["orders"].services == ("orders", "shipping")
    one = contexts.merged(["orders", "payments"])
    assert one.of_table("payments_payment") == one.of_module("legacy_monolith.orders.api") == "orders+payments"
    assert "orders" not in one.contexts


def test_a_mistake_of_an_exemption_hides_none_of_a_context(tmp_path: Path) -> None:
    text = SHOP.read_text().replace('team = "finance"\n', "") + '\n[[exemptions]]\nrule = "SFA201"\n'
    with override_settings(MIGRATION_TOOLS={"CONTEXTS": str(written(tmp_path, text))}):
        assert {each.id for each in check_contexts(None)} == {"strangle.E122", "strangle.E123"}


MISTAKES = """
[contexts.orders]
apps = ["orders", "payment"]
temas = "sales"
owner = 3
[contexts.other]
models = ["orders.Odrer"]
"""


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError) as caught:
        load_contexts(written(tmp_path, MISTAKES))
    for said in (
        "did you mean 'payments'?",
        "unknown key 'temas'; did you mean 'team'?",
        "'owner' is 3; it must be a text",
        "names model 'orders.Odrer'",
    ):
        assert said in str(caught.value)


def test_a_table_without_a_context_one_in_two_and_a_context_without_an_owner_are_check_errors(tmp_path: Path) -> None:
    text = (
        SHOP.read_text()
        .replace('apps = ["payments"]', 'tables = ["orders_order"]\napps = []')
        .replace('apps = ["orders"]', 'apps = ["orders"]\ntables = ["orders_order"]')
        .replace('owner = "head of the warehouse"\n', "")
    )
    with override_settings(MIGRATION_TOOLS={"CONTEXTS": str(written(tmp_path, text))}):
        found = {(each.id, each.msg) for each in check_contexts(None)}
    assert found == {
        ("strangle.E121", "table 'orders_order' is in ['orders', 'payments']; a table has one context"),
        (
            "strangle.E121",
            "table 'payments_payment' of app 'payments' is in no context; name the app, the model or the table in one",
        ),
        ("strangle.E122", "context 'inventory' has no owner; write owner = \"…\""),
    }
    assert check_contexts(None) == []


def test_what_is_no_map_is_refused(tmp_path: Path) -> None:
    assert [each.text for each in find_map_mistakes({})] == ["it has no [contexts.<name>] table"]
    with pytest.raises(AnalysisError, match="not TOML"):
        load_contexts(written(tmp_path, "[contexts"))
