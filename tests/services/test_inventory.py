"""The stock never promises what is not there, moves once for a sale, and follows whoever owns it."""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Callable

import httpx2
import psycopg
import pytest

from tests import identity_rig
from tests.services import rig
from tests.services.depots import Depot, manage
from tests.services.rig import RunningService

pytest_plugins = ["tests.services.rig", "tests.services.depots"]

Get = Callable[[str], RunningService]

TWO_WHO_SETTLE = """
import json
from concurrent.futures import ThreadPoolExecutor
from django.db import connection, transaction
from extracted_services.inventory import stock
from extracted_services.inventory.models import Reason
def settle(number):
    try:
        with transaction.atomic():
            return stock.keeper().settle({order}, {{901: 2, 902: 3}}, Reason.ORDERED)
    finally:
        connection.close()
with ThreadPoolExecutor(8) as pool:
    print(json.dumps(sum(pool.map(settle, range(16)))))
"""
HEARD = """
import datetime as dt, json, uuid
from django.db import transaction
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import find
from migration_tools.messaging.models import Outbox
def hear(event_type, stream, group, payload):
    envelope = Envelope(event_id=uuid.uuid4(), aggregate_id="1", aggregate_type="order", event_type=event_type,
        event_version=1, timestamp=dt.datetime.now(dt.UTC), correlation_id=None, causation_id=None, payload=payload,
        stream=stream, origin="other", position=1)
    with transaction.atomic():
        for handler, lifted in find(envelope, group):
            handler.function(lifted)
lines = [{"product": 911, "quantity": 2}, {"product": 911, "quantity": 1}]
sale = {"order_id": ORDER, "public_id": str(uuid.uuid4()), "lines": lines}
for sender, stream, group in ROADS:
    hear(sender, stream, group, {**sale, **({"reason": "ordered"} if sender == "stock.due" else {})})
print(json.dumps(list(Outbox.objects.filter(payload__order_id=ORDER).values_list("event_type", flat=True))))
"""
DIRECT, HANDED_ON = ("order.placed", "orders", "stock"), ("stock.due", "inventory", "")


@pytest.mark.thorough
def test_a_thousand_at_once_who_want_one_of_a_hundred_get_a_hundred(crowded_depot: Depot) -> None:
    depot, service = crowded_depot, crowded_depot.service
    depot.put(900, 100)

    shown = [identity_rig.cookies(buyer, "Ada Lovelace", audience=("inventory",)) for buyer in range(1, 21)]

    async def all_at_once() -> Counter[int]:
        limits = httpx2.Limits(max_connections=1000)
        async with httpx2.AsyncClient(base_url=service.url, limits=limits, timeout=240) as client:

            async def reserve(number: int) -> int:
                cookies = {**shown[number % len(shown)], "csrftoken": rig.CSRF}
                headers = {
                    "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
                    "X-CSRFToken": rig.CSRF,
                }
                wanted = {"reference": f"at once {number}", "lines": [{"product": 900, "quantity": 1}]}
                return (await client.post("/api/stock/reservations/", json=wanted, headers=headers)).status_code

            return Counter(await asyncio.gather(*map(reserve, range(1000))))

    answers = asyncio.run(all_at_once())
    assert answers == {201: 100, 409: 900}
    assert depot.shelf(900) == (100, 100)
    assert depot.promised(900) == 100


def test_to_look_first_and_then_to_promise_would_promise_the_last_one_twice(running: Get) -> None:
    """Why the reservation is one conditional UPDATE: the naive way, with its two statements interleaved."""
    service = running("inventory")
    service.rows("INSERT INTO depot_stock (product_id, on_hand) VALUES (903, 1)")
    dsn = service.dsn(service.database, "postgres")
    with psycopg.connect(dsn) as one, psycopg.connect(dsn) as other:
        look = "SELECT on_hand - reserved FROM depot_stock WHERE product_id = 903"
        promise = "UPDATE depot_stock SET reserved = reserved + 1 WHERE product_id = 903"
        assert (one.execute(look).fetchone(), other.execute(look).fetchone()) == ((1,), (1,))
        one.execute(promise)
        one.commit()
        other.execute(promise)
    assert service.rows("SELECT on_hand, reserved FROM depot_stock WHERE product_id = 903") == [(1, 2)]


def test_a_reservation_is_all_or_nothing_once_a_reference_and_given_back(depot: Depot) -> None:
    service = depot.service
    depot.put(904, 5)
    depot.put(905, 1)
    with service.browser(31) as browser, service.browser(32) as other:
        too_many = {"reference": "a", "lines": [{"product": 904, "quantity": 1}, {"product": 905, "quantity": 2}]}
        assert browser.post("/api/stock/reservations/", json=too_many).status_code == 409
        assert (depot.shelf(904), depot.shelf(905)) == ((5, 0), (1, 0))
        body = {"reference": "a", "lines": [{"product": 904, "quantity": 2}, {"product": 904, "quantity": 1}]}
        made = [browser.post("/api/stock/reservations/", json=body) for _ in range(2)]
        assert [each.status_code for each in made] == [201, 201]
        assert made[0].json() == made[1].json()
        assert (depot.shelf(904), depot.shelf(905)) == ((5, 3), (1, 0))
        changed = {"reference": "a", "lines": [{"product": 904, "quantity": 1}]}
        assert browser.post("/api/stock/reservations/", json=changed).status_code == 409
        address = f"/api/stock/reservations/{made[0].json()['id']}/"
        assert other.delete(address).status_code == 404
        assert [browser.delete(address).json()["state"] for _ in range(2)] == ["released", "released"]
        assert (depot.shelf(904), depot.shelf(905)) == ((5, 0), (1, 0))
        assert browser.post("/api/stock/reservations/", json=body).status_code == 409


def test_sixteen_who_settle_one_sale_at_once_move_the_stock_once(depot: Depot) -> None:
    done = manage(depot, "shell", "-v0", "-c", TWO_WHO_SETTLE.format(order=7701))
    assert done.stdout.strip() == "1", done.stderr
    assert depot.moved(7701) == [(901, -2, "ordered"), (902, -3, "ordered")]
    assert (depot.shelf(901), depot.shelf(902)) == ((-2, 0), (-3, 0))


@pytest.mark.parametrize(
    ("owner", "order", "roads", "published", "movements"),
    [
        ("target", 7711, [DIRECT, HANDED_ON], ["stock.moved"], 1),
        ("target", 7712, [HANDED_ON, DIRECT], ["stock.moved"], 1),
        ("source", 7713, [DIRECT], [], 0),
        ("source", 7714, [DIRECT, HANDED_ON], ["stock.due"], 0),
        (None, 7715, [DIRECT, HANDED_ON], ["stock.due"], 0),
    ],
    ids=["direct first", "handed on first", "the monolith's to hear", "handed back", "before the dual write"],
)
def test_two_roads_from_a_sale_move_the_stock_once_wherever_it_is_owned(
    thorough_depot: Depot,
    owner: str | None,
    order: int,
    roads: list[tuple[str, str, str]],
    published: list[str],
    movements: int,
) -> None:
    depot, service = thorough_depot, thorough_depot.service
    if owner:
        service.rows(rig.OWNED, "inventory")
        service.rows("UPDATE strangle_ownership SET owner = %s", owner)
    try:
        script = HEARD.replace("ORDER", str(order)).replace("ROADS", repr(roads))
        done = manage(depot, "shell", "-v0", "-c", script)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == published
        assert depot.moved(order) == [(911, -3, "ordered")] * movements
    finally:
        service.rows("DELETE FROM strangle_ownership")


def test_staff_alone_enter_deliveries_and_everybody_sees_what_is_there(depot: Depot) -> None:
    service = depot.service
    depot.put(906, 1)
    with service.browser(None) as anybody, service.browser(33) as customer, service.browser(34, staff=True) as clerk:
        assert anybody.get("/api/stock/906/").json() == {"product": 906, "on_hand": 1}
        assert anybody.post("/api/stock/906/deliveries/", json={"quantity": 4}).status_code == 401
        assert customer.post("/api/stock/906/deliveries/", json={"quantity": 4}).status_code == 403
        assert clerk.post("/api/stock/906/deliveries/", json={"quantity": 4}).json()["on_hand"] == 5
        assert clerk.post(f"/api/stock/{uuid.uuid4().int}/deliveries/", json={"quantity": 4}).status_code == 404
