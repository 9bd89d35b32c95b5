"""Planted code of other functions: which columns of the customers' table are whose, and which lines ask for orders."""

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.test import override_settings

from migration_tools.seams import Seam
from migration_tools.seams.seam import _registry
from tests.architecture.tree import ROOT
from tests.integration.test_analysis import customer, run, tracing

CRM = """
from legacy_monolith.accounts.models import User
from legacy_monolith.orders.models import Order, OrderLine
from django.shortcuts import get_object_or_404


def rename(key, first, last):
    User.objects.filter(pk=key).update(first_name=first, last_name=last)


def greet(key):
    return User.objects.only("first_name").get(pk=key).first_name


def whole(key):
    return User.objects.get(pk=key)


def close(user, key):
    order = get_object_or_404(Order, pk=key)
    OrderLine.objects.filter(order__user=user).delete()
    return order, Order.objects.filter(user=user).order_by("id").count(), isinstance(order, Order)
"""
LOGISTICS = """
from legacy_monolith.accounts.models import User


def reachable(address):
    return list(User.objects.filter(email=address).values_list("date_joined", flat=True))


def late():
    return User.objects.filter(orders__status="placed").exists(), [each.orders.all() for each in User.objects.all()]
"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Two functions more in the shop, with code and without tables of their own."""
    modules = {"planted_crm": CRM, "planted_logistics": LOGISTICS}
    text = (ROOT / "legacy_monolith" / "contexts.toml").read_text()
    for name, code in modules.items():
        (tmp_path / f"{name}.py").write_text(code)
        text += f'\n[contexts.{name.removeprefix("planted_")}]\ncode = ["{name}"]\nowner = "x"\nteam = "x"\n'
    (tmp_path / "contexts.toml").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with override_settings(MIGRATION_TOOLS={"CONTEXTS": str(tmp_path / "contexts.toml")}):
        yield {name: import_module(name) for name in modules}
    for name in modules:
        del sys.modules[name]


@pytest.mark.django_db
def test_columns_of_functions_that_share_a_table_are_sorted_by_who_uses_them(
    planted: dict[str, Any], tmp_path: Path
) -> None:
    key = customer().pk
    with tracing() as trace:
        planted["planted_crm"].rename(key, "Grace", "Hopper")
        planted["planted_crm"].greet(key)
        planted["planted_crm"].whole(key)
        planted["planted_logistics"].reachable("ada@example.com")
    trace.save(tmp_path / "trace.json")
    args = ("--split", "accounts.User", "--trace", str(tmp_path / "trace.json"))
    told = json.loads(run(*args, "--format", "json"))
    columns = {each["column"]: each for each in told["columns"]}
    assert columns["first_name"]["writes"] == {"crm": 1}
    assert columns["first_name"]["reads"] == {"crm": 1}
    assert columns["date_joined"]["reads"] == {"logistics": 1}
    assert columns["email"]["reads"] == {"logistics": 1}, "whole rows, which name it too, count for no column"
    assert told["whole_rows"] == {"crm": 1}
    assert set(told["parts"]["crm"]) == {"first_name", "last_name"}
    assert told["parts"]["logistics"] == ["date_joined"]
    assert {"password", "email", "last_order_id"} <= set(told["parts"]["accounts"]), "of several users, or of none"
    text = run(*args)
    assert "accounts_user_crm (crm): id, first_name, last_name;" in text
    assert "accounts_user (accounts): id, password," in text
    with pytest.raises(CommandError, match="names no model"):
        run("--split", "accounts.Usr")


def test_every_line_outside_a_context_that_uses_its_rows_is_told_with_the_call_to_use(planted: dict[str, Any]) -> None:
    class Local:
        def get(self) -> None: ...
        def close(self) -> None: ...

    before = _registry.get("orders")

    class Declared(Seam):
        context = "orders"
        local = remote = Local
        reads = ("get",)

    try:
        told = json.loads(run("--call-sites", "orders", "--format", "json"))
        text = run("--call-sites", "orders")
    finally:
        _registry.pop("orders")
        if before is not None:
            _registry["orders"] = before
    sites = {
        (each["place"]["file"].rpartition("/")[2], each["kind"], each["code"]): each
        for each in told["sites"]
        if "planted" in each["place"]["file"]
    }
    crm, logistics = "planted_crm.py", "planted_logistics.py"
    assert set(sites) == {
        (crm, "query", "get_object_or_404(Order, pk=key)"),
        (crm, "query", "OrderLine.objects.filter(order__user=user).delete()"),
        (crm, "query", "Order.objects.filter(user=user).order_by('id').count()"),
        (logistics, "lookup", "'placed'"),
        (logistics, "relation", "each.orders"),
    }
    assert sites[crm, "query", "OrderLine.objects.filter(order__user=user).delete()"]["instead"] == ["close"]
    assert sites[crm, "query", "get_object_or_404(Order, pk=key)"]["instead"] == ["get"]
    assert ("legacy_monolith/reporting/sales.py", "raw SQL") in {
        (each["place"]["file"], each["kind"]) for each in told["sites"]
    }
    assert not any(each["place"]["file"].startswith("legacy_monolith/orders/") for each in told["sites"])
    assert "read by seam('orders').get" in text
    assert "write by seam('orders').close" in text
    assert "declare one" in run("--call-sites", "payments")
    with pytest.raises(CommandError, match="no context is called"):
        run("--call-sites", "order")
