"""The gateway over HTTP, before services that answer, fail and vanish: screens, shapes, and the seeds' Service DX."""

from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import psycopg
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests import identity_rig
from tests.conftest import SMALL_SHOP, Cluster, recreate
from tests.examples.served import Served, served
from tests.leaf import Leaf, serving

ORACLE = """SELECT l.product_id, p.name, sum(l.quantity)::int
            FROM accounts_user u JOIN orders_order o ON o.user_id = u.id
            JOIN orders_orderline l ON l.order_id = o.id JOIN catalog_product p ON p.id = l.product_id
            WHERE u.id = %s GROUP BY 1, 2 ORDER BY 1"""


@pytest.fixture(scope="module")
def shop(cluster: Cluster, templates: tuple[str, str]) -> Iterator["psycopg.Connection[Any]"]:
    """The monolith's database with a small shop: the oracle, and where the services' answers come from."""
    recreate(cluster, "shop_of_gateway", owner="shop_owner", template=templates[0])
    with psycopg.connect(cluster.dsn("shop_of_gateway"), autocommit=True) as conn:
        conn.execute(SMALL_SHOP)
        yield conn


def customer_of(headers: Mapping[str, str]) -> int:
    """Who asks, by the token that the gateway handed on."""
    import base64
    import json

    cookies = dict(each.strip().split("=", 1) for each in headers["Cookie"].split(";"))
    payload = cookies["sx_identity"].split(".")[1]
    return int(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["uid"])


@pytest.fixture(scope="module")
def elsewhere(shop: "psycopg.Connection[Any]") -> Iterator[dict[str, Leaf]]:
    """Users, orders, catalogue and recommendations, each answering from its own tables alone."""

    def query(statement: str, *args: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(shop.info.dsn, password=shop.info.password, autocommit=True) as conn:
            return conn.execute(statement.encode(), args).fetchall()

    def lines(order: int) -> list[dict[str, int]]:
        found = query("SELECT product_id FROM orders_orderline WHERE order_id = %s", order)
        return [{"product": product} for (product,) in found]

    def users(path: str, _: Any, headers: Any) -> tuple[int, Any]:
        found = query("SELECT id, first_name || ' ' || last_name FROM accounts_user WHERE id = %s", path.split("/")[3])
        return (200, {"id": found[0][0], "name": found[0][1]}) if found else (404, {"detail": "nobody"})

    def orders(path: str, _: Any, headers: Any) -> tuple[int, Any]:
        who = customer_of(headers)
        if path.endswith("/products/"):
            sums = query("SELECT l.product_id, sum(l.quantity)::int FROM orders_order o JOIN orders_orderline l "
                         "ON l.order_id = o.id WHERE o.user_id = %s GROUP BY 1 ORDER BY 1", who)  # fmt: skip
            return 200, [{"product": product, "name": "", "quantity": quantity} for product, quantity in sums]
        mine = query("SELECT public_id::text, status, total::text, currency, id FROM orders_order WHERE user_id = %s "
                     "ORDER BY placed_at DESC, id DESC LIMIT 20", who)  # fmt: skip
        results = [
            {"id": public, "status": status, "total": total, "currency": currency,
             "lines": lines(id)}
            for public, status, total, currency, id in mine
        ]  # fmt: skip
        return 200, {"count": len(mine), "results": results}

    def catalog(_: str, asked: Mapping[str, str], headers: Any) -> tuple[int, Any]:
        ids = [int(each) for each in asked["ids"].split(",")]
        found = query("SELECT id, name, price::text FROM catalog_product WHERE id = ANY(%s)", ids)
        return 200, {"results": [{"id": number, "name": name, "price": price} for number, name, price in found]}

    def recommendations(path: str, _: Any, headers: Any) -> tuple[int, Any]:
        return 200, [{"product": 1}]

    with serving(users=users, orders=orders, catalog=catalog, recommendations=recommendations) as leaves:
        yield leaves


@pytest.fixture(scope="module")
def gateway(cluster: Cluster, elsewhere: dict[str, Leaf], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    urls = {f"{name.upper()}_URL": leaf.url for name, leaf in elsewhere.items()}
    # Time is what test_composition.py is about; here a busy machine must not be taken for a failing service.
    urls["GATEWAY_DEADLINE_SECONDS"] = "20"
    with served(cluster, "gateway", tmp_path_factory.mktemp("gateway") / "log", **urls) as made:
        yield made


@pytest.fixture
def away(elsewhere: dict[str, Leaf]) -> Iterator[Any]:
    """Let services be away until the test's end."""
    gone: list[Leaf] = []

    def leave(*names: str) -> None:
        for name in names:
            elsewhere[name].stop()
            gone.append(elsewhere[name])

    yield leave
    for leaf in gone:
        leaf.start()


def client(gateway: Served, uid: int) -> httpx2.Client:
    token = identity_rig.token(uid, "Ada", audience=("gateway", "orders"))
    cookies = {"sx_identity": token, "sessionid": identity_rig.SESSION}
    return httpx2.Client(base_url=gateway.url, cookies=cookies, timeout=30, verify=False)


def get(gateway: Served, uid: int, path: str) -> httpx2.Response:
    with client(gateway, uid) as one:
        return one.get(path)


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
    whole = get(gateway, 5, path)
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
        assert httpx2.get(gateway.url + path).status_code == 401


def test_a_request_from_too_deep_a_chain_or_without_time_is_refused(gateway: Served) -> None:
    for headers, status in (({"X-Chain-Depth": "6"}, 508), ({"X-Deadline-Ms": "0"}, 504)):
        with client(gateway, 1) as one:
            assert one.get("/api/web/dashboard/", headers=headers).status_code == status


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


def test_the_committed_schema_migrations_are_what_the_models_say(gateway: Served) -> None:
    done = gateway.manage("makemigrations", "--check", "--dry-run", "gateway_service")
    assert done.returncode == 0, done.stdout + done.stderr
