"""The orders service as a project: its schema, its OpenAPI document, its health, its event handler."""

import json

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests import identity_rig
from tests.examples.orders_service import CSRF, RunningService, Shopper
from tests.services.rig import OWNED

pytest_plugins = ["tests.examples.orders_service"]

ONE = "/api/orders/{public_id}/"
CHECKOUT = "/api/orders/checkouts/{public_id}/"
# The document cannot say which products exist, and a generated identity is always replaced by a good one.
UNDECIDABLE = [positive_data_acceptance, negative_data_rejection]
WANTED = {"shipping_address": {}, "lines": [{"product": 1, "quantity": 1}, {"product": 2, "quantity": 1}]}


def test_the_committed_schema_migrations_are_what_the_models_say(orders_service: RunningService) -> None:
    done = orders_service.manage("makemigrations", "--check", "--dry-run", "orders_service")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_foreign_key_of_items_is_checked_at_commit(orders_service: RunningService) -> None:
    found = orders_service.rows(
        "SELECT confrelid::regclass::text, condeferrable, condeferred FROM pg_constraint "
        "WHERE conrelid = 'sales_orderitem'::regclass AND contype = 'f'"
    )
    assert found == [("sales_order", True, True)]


def test_alive_and_ready(orders_service: RunningService) -> None:
    with httpx2.Client(base_url=orders_service.url, timeout=30) as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").json() == {"status": "ready"}


def test_alive_but_not_ready_without_its_database(orders_service: RunningService) -> None:
    script = """
from django.test import Client
print([Client().get(path).status_code for path in ("/livez", "/readyz")])
"""
    done = orders_service.manage("shell", "-v0", "-c", script, ORDERS_DB_PORT="1", SHOP_ALLOWED_HOSTS="testserver")
    assert done.stdout.strip() == "[200, 503]", done.stderr


def test_an_order_of_the_monolith_is_counted_on_the_day_of_its_event(orders_service: RunningService) -> None:
    script = """
import datetime as dt, uuid
from django.db import transaction
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import find
for hour in (1, 23):
    envelope = Envelope(
        event_id=uuid.uuid4(), aggregate_id="1", aggregate_type="order", event_type="order.placed",
        event_version=1, timestamp=dt.datetime(2001, 2, 3, hour, tzinfo=dt.timezone(dt.timedelta(hours=2))),
        correlation_id=None, causation_id=None, payload={}, stream="orders", origin="monolith", position=hour,
    )
    with transaction.atomic():
        for handler, lifted in find(envelope):
            handler.function(lifted)
"""
    done = orders_service.manage("shell", "-v0", "-c", script)
    assert done.returncode == 0, done.stderr
    counted = orders_service.rows("SELECT day::text, placed FROM sales_dailycount WHERE day < '2002-01-01' ORDER BY 1")
    assert counted == [("2001-02-02", 1), ("2001-02-03", 1)]


def test_a_service_that_was_told_of_no_owner_opens_no_checkout(
    orders_service: RunningService, shopper: Shopper, uid: int
) -> None:
    orders_service.rows("DELETE FROM strangle_ownership")
    try:
        refused = shopper(uid).post("/api/orders/checkouts/", json=WANTED)
        assert refused.status_code == 503
        assert orders_service.rows("SELECT FROM sales_checkout WHERE customer_id = %s", uid) == []
        assert "buy from whoever owns them" in refused.json()["detail"]
    finally:
        orders_service.rows(OWNED, "orders")


def test_a_page_of_orders_costs_the_same_queries_however_many_it_shows(
    orders_service: RunningService, shopper: Shopper, uid: int
) -> None:
    client = shopper(uid)
    for _ in range(5):
        assert client.post("/api/orders/", json=WANTED).status_code == 201
    script = f"""
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
client = Client()
for name, value in {identity_rig.cookies(uid, "Ada")!r}.items():
    client.cookies[name] = value
with CaptureQueriesContext(connection) as queries:
    shown = client.get("/api/orders/").json()["results"]
print([len(shown), len(queries)])
"""
    done = orders_service.manage("shell", "-v0", "-c", script, SHOP_ALLOWED_HOSTS="testserver")
    # Count, orders, items, product names.
    assert json.loads(done.stdout) == [5, 4], done.stderr


def test_the_openapi_document_is_complete_and_generated_without_a_warning(
    orders_service: RunningService,
) -> None:
    done = orders_service.manage("spectacular", "--validate", "--fail-on-warn", "--format", "openapi-json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["openapi"] == "3.1.0"
    assert {(path, method) for path, methods in document["paths"].items() for method in methods} == {
        ("/api/orders/", "get"),
        ("/api/orders/", "post"),
        ("/api/orders/products/", "get"),
        ("/api/orders/checkouts/", "get"),
        ("/api/orders/checkouts/", "post"),
        (CHECKOUT, "get"),
        (f"{CHECKOUT}withdraw/", "post"),
        (ONE, "get"),
        (f"{ONE}pay/", "post"),
        (f"{ONE}ship/", "post"),
        (f"{ONE}cancel/", "post"),
    }


@pytest.fixture(scope="session")
def openapi(orders_service: RunningService) -> BaseSchema:
    """The document as the running service serves it."""
    return schemathesis.openapi.from_url(f"{orders_service.url}/api/schema/")


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/orders/"),
        ("POST", "/api/orders/"),
        ("GET", "/api/orders/products/"),
        ("GET", "/api/orders/checkouts/"),
        ("POST", "/api/orders/checkouts/"),
        ("GET", CHECKOUT),
        ("POST", f"{CHECKOUT}withdraw/"),
        ("GET", ONE),
        ("POST", f"{ONE}pay/"),
        ("POST", f"{ONE}ship/"),
        ("POST", f"{ONE}cancel/"),
    ],
)
def test_every_answer_to_generated_requests_is_one_the_document_declares(
    openapi: BaseSchema, shopper: Shopper, uid: int, method: str, path: str, mode: GenerationMode
) -> None:
    placed = shopper(uid).post("/api/orders/", json=WANTED).json()["id"]
    operation = openapi[path][method]
    cases = operation.as_strategy(mode)
    if path.startswith(CHECKOUT):
        placed = shopper(uid).post("/api/orders/checkouts/", json=WANTED).json()["id"]
    if path.startswith((ONE, CHECKOUT)):
        cases |= operation.as_strategy(path_parameters={"public_id": placed})
    cookies = {**identity_rig.cookies(uid, "Ada"), "csrftoken": CSRF}

    @settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(cases)
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(headers={"X-CSRFToken": CSRF}, cookies=cookies, excluded_checks=UNDECIDABLE)

    check()
