"""The gateway over HTTP, before services that answer, fail and vanish: screens, shapes, and the seeds' Service DX."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests import identity_rig
from tests.conftest import ROOT, Cluster
from tests.examples.gateway_rig import ORACLE, away, client, elsewhere, gateway, get, monolith, shop
from tests.examples.served import Served, served
from tests.integration.proxy_rig import await_until
from tests.integration.site_rig import Gunicorn
from tests.leaf import Leaf

__all__ = ["away", "elsewhere", "gateway", "monolith", "shop"]


def test_products_ordered_by_a_user_are_what_the_monoliths_join_says(
    gateway: Served, shop: "psycopg.Connection[Any]"
) -> None:
    for uid in range(1, 21, 3):
        answer = get(gateway, uid, f"/api/users/{uid}/ordered-products/")
        assert answer.status_code == 200, answer.text
        shown = [(row["product"], row["name"], row["quantity"]) for row in answer.json()["products"]]
        assert shown == shop.execute(ORACLE, [uid]).fetchall() != []


@pytest.mark.parametrize(
    ("uid", "asked", "gone", "status", "says"),
    [
        pytest.param(1, 1, (), 200, "all", id="all there"),
        pytest.param(901, 901, (), 404, None, id="unknown user"),
        pytest.param(1, 2, (), 404, None, id="another user's"),
        pytest.param(21, 21, (), 200, "nothing", id="ordered nothing"),
        pytest.param(1, 1, ("catalog",), 200, "nameless", id="catalogue away"),
        pytest.param(1, 1, ("orders",), 502, None, id="orders away"),
        pytest.param(1, 1, ("users",), 502, None, id="users away"),
    ],
)
def test_what_a_user_ordered_is_all_or_partial_or_empty_or_missing_or_failed(
    gateway: Served, shop: Any, away: Any, uid: int, asked: int, gone: tuple[str, ...], status: int, says: str | None
) -> None:
    shop.execute("INSERT INTO accounts_user (id, password, is_superuser, is_staff, is_active, date_joined, email, "
                 "first_name, last_name) VALUES (21, '!', false, false, true, now(), 'new@example.com', 'N', 'W') "
                 "ON CONFLICT DO NOTHING")  # fmt: skip
    away(*gone)
    answer = get(gateway, uid, f"/api/users/{asked}/ordered-products/")
    assert answer.status_code == status, answer.text
    if says is None:
        assert answer.headers["content-type"] == "application/problem+json"
        return
    document = answer.json()
    names = [row["name"] for row in document["products"]]
    assert ("_errors" in document) == (says == "nameless")
    assert (names == []) == (says == "nothing")
    assert (set(names) == {None}) == (says == "nameless")


def test_the_dashboard_says_which_of_its_parts_are_older_and_asks_only_for_the_wanted(
    gateway: Served, elsewhere: dict[str, Leaf], away: Any
) -> None:
    path = "/api/customers/5/dashboard/"
    for leaf in elsewhere.values():
        leaf.calls.clear()
    whole = get(gateway, 5, path)
    assert [len(leaf.calls) for leaf in elsewhere.values()] == [1, 1, 1, 1], "one call a source"
    assert len(whole.json()["products"]) > 1
    assert whole.json().keys() == {"customer", "recent_orders", "products", "recommendations"}
    assert "customer;dur=" in whole.headers["server-timing"]
    for leaf in elsewhere.values():
        leaf.calls.clear()
    assert get(gateway, 5, f"{path}?fields=customer.name").json() == {"customer": {"name": "Ünï5 Näme5"}}
    assert [len(leaf.calls) for leaf in elsewhere.values()] == [1, 0, 0, 0]
    assert get(gateway, 5, f"{path}?fields=stock").status_code == 400
    away("orders", "recommendations")
    partial = get(gateway, 5, path).json()
    assert partial["recent_orders"] == whole.json()["recent_orders"]
    assert [(e["part"], e["outcome"]) for e in partial["_errors"]] == [
        ("recent_orders", "stale"), ("recommendations", "fallback"),
    ]  # fmt: skip
    assert get(gateway, 6, "/api/customers/5/dashboard/").status_code == 404


def test_the_mobile_screen_shows_the_same_data_and_less_of_it(gateway: Served, elsewhere: dict[str, Leaf]) -> None:
    web = get(gateway, 7, "/api/web/dashboard/")
    elsewhere["recommendations"].calls.clear()
    mobile = get(gateway, 7, "/api/mobile/dashboard/")
    assert len(mobile.content) < len(web.content) / 3
    assert elsewhere["recommendations"].calls == []
    shown, whole = mobile.json(), web.json()
    assert shown["name"] == whole["customer"]["name"]
    assert [order["id"] for order in shown["orders"]] == [order["id"] for order in whole["recent_orders"]][:3]
    first = whole["recent_orders"][0]
    names = {product["name"] for product in whole["products"].values()}
    assert shown["orders"][0]["first"] in names
    assert shown["orders"][0]["total"] == f"{first['total']} {first['currency']}"


def test_nobody_without_an_identity_sees_anything(gateway: Served) -> None:
    for path in ("/api/web/dashboard/", "/api/mobile/dashboard/", "/api/users/1/ordered-products/"):
        assert httpx2.get(gateway.url + path, timeout=60).status_code == 401


def test_a_request_from_too_deep_a_chain_or_without_time_is_refused(gateway: Served) -> None:
    for headers, status in (({"X-Chain-Depth": "6"}, 508), ({"X-Deadline-Ms": "0"}, 504)):
        with client(gateway, 1) as one:
            assert one.get("/api/web/dashboard/", headers=headers).status_code == status


@pytest.mark.thorough
def test_every_answer_is_one_that_the_openapi_document_declares(gateway: Served) -> None:
    document = schemathesis.openapi.from_url(f"{gateway.url}/api/schema/")
    cookies = {"sx_identity": identity_rig.token(1, "Ada", audience=("gateway",)), "sessionid": identity_rig.SESSION}
    for path in document.raw_schema["paths"]:
        cases = document[path]["GET"].as_strategy()

        @settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(cases)
        def check(case: schemathesis.Case) -> None:
            undecidable = [positive_data_acceptance, negative_data_rejection]
            case.call_and_validate(cookies=cookies, excluded_checks=undecidable)

        check()


@pytest.mark.thorough
def test_the_committed_schema_migrations_are_what_the_models_say(gateway: Served) -> None:
    done = gateway.manage("makemigrations", "--check", "--dry-run", "gateway_service")
    assert done.returncode == 0, done.stdout + done.stderr


LEAVES = "from legacy_monolith.accounts.models import User; User.objects.filter(pk=4).delete()"


def run_in_shop(*arguments: str) -> None:
    """Run a management command of the monolith, as its owner."""
    env = {**os.environ, "SHOP_DB_NAME": "shop_of_gateway", "SHOP_DB_USER": "shop_owner", "ORDERS_DB_NAME": ""}
    argv = [sys.executable, "manage.py", *arguments, "--settings", "legacy_monolith.settings"]
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.thorough
def test_from_events_alone_the_answer_is_the_monoliths_too_with_every_other_service_gone(
    gateway: Served, monolith: Gunicorn, shop: "psycopg.Connection[Any]", away: Any
) -> None:
    gateway.start("strangle_consume", "users", "orders", "catalog")
    for stream in ("users", "catalog", "orders"):
        run_in_shop("strangle_state_events", stream)
    counts = """SELECT (SELECT count(DISTINCT (order_id, product_id)) FROM orders_orderline),
                (SELECT count(*) FROM accounts_user), (SELECT count(*) FROM catalog_product)"""
    wanted = shop.execute(counts.encode()).fetchone()
    has = """SELECT (SELECT count(*) FROM gateway_orderedline), (SELECT count(*) FROM gateway_user),
             (SELECT count(*) FROM gateway_product)"""
    await_until(lambda: gateway.rows(has) == [wanted], 60, "everything arrived")
    run_in_shop("shell", "-v0", "-c", LEAVES)
    await_until(lambda: not gateway.rows("SELECT 1 FROM gateway_user WHERE id = 4"), 30, "the deletion arrived")
    monolith.stop()
    away("users", "orders", "catalog", "recommendations")
    for uid in range(5, 21, 3):
        answer = get(gateway, uid, f"/api/users/{uid}/ordered-products/projected/")
        assert answer.status_code == 200, answer.text
        shown = [(row["product"], row["name"], row["quantity"]) for row in answer.json()["products"]]
        assert shown == shop.execute(ORACLE, [uid]).fetchall() != []
        assert answer.json()["as_of"] is not None
    for unknown in (4, 901):
        path = f"/api/users/{unknown}/ordered-products/projected/"
        assert get(gateway, unknown, path).status_code == 404
    assert get(gateway, 5, "/api/users/5/ordered-products/").status_code == 502


@pytest.mark.thorough
def test_of_two_gateways_of_a_slice_each_one_is_stopped_and_the_other_serves(
    cluster: Cluster, elsewhere: dict[str, Leaf], tmp_path: Path
) -> None:
    urls = {f"{name.upper()}_URL": leaf.url for name, leaf in elsewhere.items()} | {"GATEWAY_DEADLINE_SECONDS": "20"}
    theirs = {"screens": "/api/web/dashboard/", "ordered_products": "/api/users/1/ordered-products/"}
    with ExitStack() as stack:
        gateways = {
            name: stack.enter_context(served(cluster, "gateway", tmp_path / name, GATEWAY_SLICE=name, **urls))
            for name in theirs
        }

        def answers() -> dict[tuple[str, str], int]:
            return {
                (name, path): get(each, 1, path).status_code
                for name, each in gateways.items()
                for path in theirs.values()
            }

        assert answers() == {(name, path): 200 if path == theirs[name] else 404 for name, path in answers()}
        documents = {name: get(each, 1, "/api/schema/?format=json").json() for name, each in gateways.items()}
        assert not documents["screens"]["paths"].keys() & documents["ordered_products"]["paths"].keys()
        stopped = gateways["screens"]
        stopped.started[0].terminate()
        stopped.started[0].wait(30)
        with pytest.raises(httpx2.TransportError):
            get(stopped, 1, theirs["screens"])
        other = get(gateways["ordered_products"], 1, theirs["ordered_products"])
        assert (other.status_code, "_errors" in other.json()) == (200, False)
    refused = gateways["screens"].manage("check", GATEWAY_SLICE="everything")
    assert refused.returncode != 0
    assert "GATEWAY_SLICE is 'everything'" in refused.stderr
