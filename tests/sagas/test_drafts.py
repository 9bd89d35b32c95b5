"""A transaction that was seen to write tables of several contexts becomes a saga that can be filled in."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import modify_settings

from migration_tools.sagas import registry
from migration_tools.sagas.validation import find_mistakes

PLACE = {"file": "legacy_monolith/orders/purchase.py", "line": 45}
PURCHASE = {
    "function": "legacy_monolith.orders.purchase.purchase",
    "context": "orders",
    "place": PLACE,
    "tables": ["inventory_stock", "orders_order", "orders_orderline", "payments_payment"],
    "count": 7,
}


def trace(path: Path, *written: dict[str, Any]) -> str:
    """A trace's file, as strangle_analyze's listeners write it."""
    path.write_text(json.dumps({"version": 1, "sent": [], "written": list(written)}))
    return str(path)


def test_a_transaction_over_three_contexts_becomes_a_saga_without_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_declared", {})
    alone = {**PURCHASE, "function": "x.alone", "tables": ["orders_order", "orders_orderline"]}
    later = {**PURCHASE, "tables": ["inventory_movement", "orders_order"], "count": 2}
    file = trace(tmp_path / "trace.json", PURCHASE, alone, later)
    out = StringIO()
    call_command("strangle_sagas", "draft", "--trace", file, stdout=out)
    source = out.getvalue()
    exec(compile(source, "draft", "exec"), {"__name__": "draft"})  # noqa: S102
    [saga] = registry.declared()
    assert find_mistakes(saga) == []
    assert [step.name for step in saga.steps] == ["begin", "inventory", "payments", "confirm"]
    assert "seen 9 times" in source
    assert "# writes inventory_movement, inventory_stock" in source
    told = StringIO()
    call_command("strangle_sagas", "draft", "--trace", file, "--format", "json", stdout=told)
    assert json.loads(told.getvalue())["sites"] == [
        {"function": PURCHASE["function"], "contexts": ["inventory", "orders", "payments"], "count": 9}
    ]


def test_a_monolith_without_the_room_of_sagas_can_draft_one(tmp_path: Path) -> None:
    out = StringIO()
    with modify_settings(INSTALLED_APPS={"remove": "migration_tools.sagas"}):
        call_command("strangle_sagas", "draft", "--trace", trace(tmp_path / "trace.json", PURCHASE), stdout=out)
        with pytest.raises(CommandError, match=r"INSTALLED_APPS lacks 'migration_tools\.sagas'"):
            call_command("strangle_sagas", "list", stdout=StringIO())
    assert "seen 7 times" in out.getvalue()


def test_without_a_trace_it_says_how_to_record_one(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="--strangle-trace"):
        call_command("strangle_sagas", "draft", stdout=StringIO())
    other = tmp_path / "other.json"
    other.write_text('{"version": 0}')
    with pytest.raises(CommandError, match="is no trace of version 1"):
        call_command("strangle_sagas", "draft", "--trace", str(other), stdout=StringIO())
