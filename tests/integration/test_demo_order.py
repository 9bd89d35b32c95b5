"""The demo carries contexts in the order that the analysis suggests of the shop as it runs: orders first."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from demo.further import OFFERED, first, unknown
from demo.survey import in_suggested_order, reasons
from legacy_monolith.testing import make_product
from migration_tools.analysis.observation import scope
from tests.integration.test_analysis import customer, run, tracing


def report_of(*plan: tuple[str, str, tuple[str, ...]]) -> dict[str, Any]:
    """(context, service, reasons) → what the demo reads of a report."""
    return {
        "contexts": [{"name": context, "services": [service]} for context, service, _ in plan],
        "plan": [{"context": context, "because": list(because)} for context, _, because in plan],
    }


@pytest.mark.django_db
def test_the_shop_as_customers_use_it_gives_orders_first_and_says_why(tmp_path: Path) -> None:
    client, product = Client(), make_product()
    client.force_login(customer())
    body = {"client_reference": "r", "lines": [{"product": product.pk, "quantity": 1}]}
    with tracing() as trace:
        for step in ("pay", "cancel"):
            with scope("a visit"):
                made = client.post("/api/orders/", json.dumps(body), content_type="application/json")
                assert made.status_code == 201, made.content
                assert client.post(f"/api/orders/{made.json()['id']}/{step}/").status_code == 200
                assert client.get("/api/orders/").status_code == 200
                assert client.get("/api/orders/products/").status_code == 200
    trace.save(tmp_path / "trace.json")
    report = json.loads(run("--no-database", "--format", "json", "--trace", str(tmp_path)))
    assert report["verdict"]["first"] == report["plan"][0]["context"] == "orders"
    assert all(cut["after"] == ["orders"] for cut in report["plan"][1:])
    suggested = in_suggested_order(report, OFFERED)
    assert suggested[0] == "orders"
    assert set(suggested) == set(OFFERED)
    told = reasons(report, ("orders", "payments", "catalog"))
    assert [sentence.partition(":")[0] for sentence in sorted(told)] == [
        "catalog leaves after orders, whose code joins its tables",
        "payments leaves after orders, whose code writes its tables",
    ]


def test_the_named_contexts_leave_as_the_report_has_them_by_the_services_they_go_to() -> None:
    report = report_of(
        ("accounts", "users", ()), ("reporting", "analytics", ()), ("orders", "orders", ("after accounts, whose …",)),
        ("catalog", "catalog", ("after orders, whose …",)),
    )  # fmt: skip
    assert in_suggested_order(report, ("orders", "catalog", "users")) == ("users", "orders", "catalog")
    assert in_suggested_order(report, ("catalog", "orders")) == ("orders", "catalog")
    assert reasons(report, ("orders", "users")) == ["orders leaves after accounts, whose …"]


def test_orders_are_among_them_wherever_they_are_named() -> None:
    assert first(("catalog", "orders", "users")) == ("orders", "catalog", "users")
    assert unknown(("catalog", "orders")) == ""
    assert "name 'orders' too" in unknown(("catalog",))
    assert "is not offered" in unknown(("orders", "reporting"))
    assert "named twice" in unknown(("orders", "catalog", "catalog"))
