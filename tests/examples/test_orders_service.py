"""The public contract of the orders service, as its customers meet it over HTTP."""

import datetime as dt
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import psycopg
import pytest
import time_machine

from tests import identity_rig
from tests.examples.orders_service import CSRF, RunningService, Shopper

pytest_plugins = ["tests.examples.orders_service"]

WANTED: dict[str, Any] = {
    "client_reference": "cart-1",
    "note": "please ring\ntwice 🛎",
    "shipping_address": {"city": "Köln", "floor": 3, "tags": [None, {"a": 1.5}]},
    "lines": [
        {"product": 1, "quantity": 2, "gift_message": None},
        {"product": 2, "quantity": 3, "gift_message": ""},
    ],
}


def place(client: httpx2.Client, **changes: Any) -> dict[str, Any]:
    answer = client.post("/api/orders/", json=WANTED | changes)
    assert answer.status_code == 201, answer.text
    order: dict[str, Any] = answer.json()
    return order


def assert_problem(answer: httpx2.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert {"type", "title", "detail"} <= document.keys()
    return document


def events(service: RunningService, public_id: str) -> list[tuple[str, dict[str, Any]]]:
    rows = service.rows(
        "SELECT event_type, payload FROM strangle_outbox WHERE aggregate_id = %s ORDER BY seq", public_id
    )
    return [(event_type, payload) for event_type, payload in rows]


def test_a_purchase_answers_with_the_order_priced_from_the_replica(shopper: Shopper, uid: int) -> None:
    order = place(shopper(uid, "Ada Łovelace"))
    assert uuid.UUID(order["id"])
    assert dt.datetime.fromisoformat(order["placed_at"]).tzinfo is not None
    assert order == {
        "id": order["id"],
        "status": "placed",
        "customer": {"id": uid, "name": "Ada Łovelace"},
        "total": "24.83",
        "discount": None,
        "currency": "EUR",
        "note": WANTED["note"],
        "client_reference": "cart-1",
        "shipping_address": WANTED["shipping_address"],
        "placed_at": order["placed_at"],
        "paid_at": None,
        "lines": [
            {
                "product": 1,
                "name": "Mug “Größe L”",
                "quantity": 2,
                "unit_price": "12.34",
                "gift_message": None,
            },
            {"product": 2, "name": "Pen", "quantity": 3, "unit_price": "0.05", "gift_message": ""},
        ],
    }


def test_a_purchase_publishes_order_placed_with_what_the_monolith_needs(
    orders_service: RunningService, shopper: Shopper, uid: int
) -> None:
    order = place(shopper(uid))
    [(row_id,)] = orders_service.rows("SELECT id FROM sales_order WHERE public_id = %s", order["id"])
    payload = {
        "order_id": row_id,
        "public_id": order["id"],
        "user_id": uid,
        "total": "24.83",
        "currency": "EUR",
        "lines": [{"product": 1, "quantity": 2}, {"product": 2, "quantity": 3}],
    }
    assert events(orders_service, order["id"]) == [("order.placed", payload)]


def test_purchases_made_at_once_are_each_counted_once(
    orders_service: RunningService, shopper: Shopper, uid: int
) -> None:
    def placed_so_far() -> int:
        [(placed,)] = orders_service.rows("SELECT coalesce(sum(placed), 0)::int FROM sales_dailycount")
        return int(placed)

    before = placed_so_far()
    client = shopper(uid)
    with ThreadPoolExecutor(8) as pool:
        ids = {order["id"] for order in pool.map(lambda _: place(client), range(24))}
    assert len(ids) == 24
    assert placed_so_far() == before + 24


LINE = {"product": 1, "quantity": 1, "gift_message": None}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"lines": []}, id="no lines"),
        pytest.param({"lines": [LINE | {"product": 404}]}, id="unknown product"),
        pytest.param({"lines": [LINE | {"product": 4}]}, id="product withdrawn"),
        pytest.param({"lines": [LINE | {"product": 2**70}]}, id="product beyond bigint"),
        pytest.param({"lines": [LINE | {"quantity": 0}]}, id="quantity below one"),
        pytest.param({"lines": [LINE | {"quantity": 2**31}]}, id="quantity beyond integer"),
        pytest.param({"lines": [LINE | {"product": 3, "quantity": 200}]}, id="total too large"),
        pytest.param({"lines": [LINE, LINE | {"product": 5}]}, id="two currencies"),
        pytest.param({"client_reference": "x" * 65}, id="reference too long"),
        pytest.param({"note": "x" * 2001}, id="note too long"),
        pytest.param({"note": "a\0b"}, id="NUL in text"),
        pytest.param({"shipping_address": {"a": ["b\0"]}}, id="NUL in JSON"),
        pytest.param({"shipping_address": "Köln"}, id="address no object"),
    ],
)
def test_bad_input_is_a_problem_and_leaves_nothing_behind(
    orders_service: RunningService, shopper: Shopper, uid: int, changes: dict[str, Any]
) -> None:
    document = assert_problem(shopper(uid).post("/api/orders/", json=WANTED | changes), 400)
    assert document["errors"].keys() == changes.keys()
    assert orders_service.rows("SELECT 1 FROM sales_order WHERE customer_id = %s", uid) == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"note": "\xff"}', 400),
        (b'{"shipping_address": {"a": 1e999}, "lines": [{"product": 1, "quantity": 1}]}', 400),
        (rb'{"shipping_address": {"\ud800": 1}, "lines": [{"product": 1, "quantity": 1}]}', 400),
        (b"[" * 100_000, 400),
        (b" " * 1_000_001, 413),
    ],
)
def test_an_unreadable_body_is_refused(shopper: Shopper, body: bytes, status: int) -> None:
    answer = shopper().post("/api/orders/", content=body, headers={"content-type": "application/json"})
    assert_problem(answer, status)


def test_the_list_is_newest_first_twenty_a_page_and_only_ones_own(shopper: Shopper, uid: int) -> None:
    client, other = shopper(uid), shopper(uid + 1)
    placed = [place(client, client_reference=str(number))["id"] for number in range(21)]
    place(other)
    first = client.get("/api/orders/").json()
    assert (first["count"], first["previous"]) == (21, None)
    assert [order["id"] for order in first["results"]] == placed[:0:-1]
    last = client.get(first["next"]).json()
    assert [order["id"] for order in last["results"]] == placed[:1]
    assert last["next"] is None
    assert_problem(client.get("/api/orders/?page=3"), 404)


def test_an_order_goes_from_placed_over_paid_to_shipped_and_tells_so(
    orders_service: RunningService, shopper: Shopper, uid: int
) -> None:
    client = shopper(uid)
    order = place(client)
    url = f"/api/orders/{order['id']}/"
    paid = client.post(f"{url}pay/").json()
    assert paid == order | {"status": "paid", "paid_at": paid["paid_at"]}
    assert paid["paid_at"] > order["placed_at"]
    shipped = client.post(f"{url}ship/").json()
    assert shipped == paid | {"status": "shipped"} == client.get(url).json()
    (_, placed_payload), *moves = events(orders_service, order["id"])
    who = {"order_id": placed_payload["order_id"], "public_id": order["id"]}
    assert moves == [("order.paid", who | {"amount": "24.83"}), ("order.shipped", who)]


@pytest.mark.parametrize("moves", [["pay"], ["pay", "ship"], ["cancel"], ["pay", "cancel"]], ids="-".join)
def test_a_repeated_transition_answers_the_same_and_tells_nothing_new(
    orders_service: RunningService, shopper: Shopper, uid: int, moves: list[str]
) -> None:
    client = shopper(uid)
    order = place(client)
    for move in moves:
        first = client.post(f"/api/orders/{order['id']}/{move}/")
        with ThreadPoolExecutor(4) as pool:
            again = list(pool.map(lambda _, m=move: client.post(f"/api/orders/{order['id']}/{m}/"), range(4)))
        assert {answer.status_code for answer in again} == {200}
        assert all(answer.json() == first.json() for answer in again)
    assert len(events(orders_service, order["id"])) == 1 + len(moves)


def test_payments_that_wait_for_the_same_order_pay_it_once(
    orders_service: RunningService, shopper: Shopper, uid: int
) -> None:
    client = shopper(uid)
    order = place(client)
    dsn = orders_service.dsn(orders_service.database, "orders_owner")
    with ThreadPoolExecutor(4) as pool, psycopg.connect(dsn) as holder:
        holder.execute("SELECT 1 FROM sales_order WHERE public_id = %s FOR UPDATE", [order["id"]])
        answers = [pool.submit(client.post, f"/api/orders/{order['id']}/pay/") for _ in range(4)]
        orders_service.wait_until(
            "SELECT count(*) = 4 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        holder.rollback()
        assert [answer.result().status_code for answer in answers] == [200] * 4
    assert [event_type for event_type, _ in events(orders_service, order["id"])] == [
        "order.placed",
        "order.paid",
    ]


@pytest.mark.parametrize(
    ("moves", "illegal"),
    [([], "ship"), (["cancel"], "pay"), (["cancel"], "ship"), (["pay", "ship"], "cancel")],
)
def test_an_illegal_transition_is_a_conflict(shopper: Shopper, uid: int, moves: list[str], illegal: str) -> None:
    client = shopper(uid)
    url = f"/api/orders/{place(client)['id']}/"
    for move in moves:
        assert client.post(f"{url}{move}/").status_code == 200
    before = client.get(url).json()
    assert_problem(client.post(f"{url}{illegal}/"), 409)
    assert client.get(url).json() == before


def test_a_cancelled_order_tells_which_products_come_back(
    orders_service: RunningService, shopper: Shopper, uid: int
) -> None:
    client = shopper(uid)
    order = place(client)
    assert client.post(f"/api/orders/{order['id']}/cancel/").json()["status"] == "cancelled"
    event_type, payload = events(orders_service, order["id"])[-1]
    assert event_type == "order.cancelled"
    assert payload["lines"] == [{"product": 1, "quantity": 2}, {"product": 2, "quantity": 3}]


def test_ordered_products_are_summed_and_sorted(shopper: Shopper, uid: int) -> None:
    client = shopper(uid)
    place(client)
    place(client, lines=[LINE | {"product": 2, "quantity": 4}])
    assert client.get("/api/orders/products/").json() == [
        {"product": 1, "name": "Mug “Größe L”", "quantity": 2},
        {"product": 2, "name": "Pen", "quantity": 7},
    ]


def test_another_customers_order_does_not_exist(shopper: Shopper, uid: int) -> None:
    url = f"/api/orders/{place(shopper(uid))['id']}/"
    stranger = shopper(uid + 1)
    assert_problem(stranger.get(url), 404)
    for move in ("pay", "ship", "cancel"):
        assert_problem(stranger.post(f"{url}{move}/"), 404)


@pytest.mark.parametrize("cookie", [None, "nonsense", "forged", "expired"])
@pytest.mark.parametrize("path", ["", "products/", f"{uuid.UUID(int=7)}/"])
def test_without_a_valid_identity_nothing_is_shown(
    orders_service: RunningService, cookie: str | None, path: str
) -> None:
    if cookie == "forged":
        cookie = identity_rig.token(1, "Mallory", secret="another key")
    elif cookie == "expired":
        with time_machine.travel(dt.datetime.now(dt.UTC) - dt.timedelta(hours=2), tick=False):
            cookie = identity_rig.token(1, "Ada")
    cookies = {"sessionid": identity_rig.SESSION} | ({"sx_identity": cookie} if cookie else {})
    with httpx2.Client(base_url=orders_service.url, cookies=cookies, timeout=30) as client:
        assert_problem(client.get(f"/api/orders/{path}"), 401)


@pytest.mark.parametrize("token", [None, "d" * 32], ids=["missing", "wrong"])
def test_an_unsafe_request_without_the_csrf_token_is_refused(
    orders_service: RunningService, shopper: Shopper, uid: int, token: str | None
) -> None:
    client = shopper(uid, csrf=token)
    assert_problem(client.post("/api/orders/", json=WANTED), 403)
    url = f"/api/orders/{place(shopper(uid))['id']}/"
    assert_problem(client.post(f"{url}pay/"), 403)
    assert client.get(url, headers={"X-CSRFToken": CSRF}).json()["status"] == "placed"


def test_the_service_sets_no_cookie_and_keeps_no_session(orders_service: RunningService, shopper: Shopper) -> None:
    client = shopper()
    for answer in (client.get("/api/orders/"), client.post("/api/orders/", json=WANTED)):
        assert "set-cookie" not in answer.headers
    assert orders_service.rows("SELECT to_regclass('django_session')") == [(None,)]


def test_a_write_that_meets_the_fence_is_a_503_that_the_proxy_may_retry(
    orders_service: RunningService, shopper: Shopper, uid: int
) -> None:
    client = shopper(uid)
    orders_service.rows(
        "CREATE FUNCTION planted_fence() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'not the owner' USING ERRCODE = '40S01'; END $$"
    )
    orders_service.rows("CREATE TRIGGER planted_fence BEFORE INSERT ON sales_order EXECUTE FUNCTION planted_fence()")
    try:
        fenced = client.post("/api/orders/", json=WANTED)
    finally:
        orders_service.rows("DROP FUNCTION planted_fence CASCADE")
    assert_problem(fenced, 503)
    assert (fenced.headers["x-strangler-fenced"], fenced.headers["retry-after"]) == ("1", "1")
    assert client.get("/api/orders/").json()["count"] == 0
    place(client)
