"""Each service as a project: its schema, its OpenAPI document, its health, and answers to generated requests."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests import identity_rig
from tests.services.rig import CSRF, NAMES, OWNED, RunningService

pytest_plugins = ["tests.services.rig"]

Get = Callable[[str], RunningService]

# The document cannot say which rows exist, and a generated identity is always replaced by a good one.
UNDECIDABLE = [positive_data_acceptance, negative_data_rejection]
OPERATIONS = {
    "catalog": {
        ("/api/products/", "GET"),
        ("/api/products/search/", "GET"),
        ("/api/products/{id}/", "GET"),
        ("/api/products/v2/{id}/", "GET"),
        ("/api/products/{id}/", "PATCH"),
    },
    "inventory": {
        ("/api/stock/{product}/", "GET"),
        ("/api/stock/{product}/deliveries/", "POST"),
        ("/api/stock/reservations/", "POST"),
        ("/api/stock/reservations/{public_id}/", "DELETE"),
    },
    "payments": {
        ("/api/payments/", "GET"),
        ("/api/payments/account/", "GET"),
        ("/api/payments/accounts/{payer}/limit/", "PUT"),
    },
    "users": {
        ("/api/accounts/me/", "GET"),
        ("/api/accounts/me/", "PATCH"),
        ("/api/accounts/me/public-id/", "GET"),
        ("/api/accounts/token/", "POST"),
    },
}
ROWS = {
    "catalog": """WITH shelf AS (INSERT INTO shelf_category (title) VALUES ('Books') RETURNING id)
        INSERT INTO shelf_product (id, code, title, price_cents, currency, category_id, features, on_sale)
        OVERRIDING SYSTEM VALUE SELECT n, 'S' || n, 'Book ' || n, n * 100, 'EUR', id, '{"n": 1}', true
        FROM shelf, generate_series(1, 3) n""",
    "inventory": "INSERT INTO depot_stock (product_id, on_hand) SELECT n, 1000 FROM generate_series(1, 3) n",
    "payments": """INSERT INTO billing_payment (order_number, order_public_id, payer_id, amount_cents, status,
        authorised_at, changed_at) SELECT n, gen_random_uuid(), 7, n * 100, 'captured', now(), now()
        FROM generate_series(1, 3) n""",
    "users": """WITH ada AS (INSERT INTO people_person (id, email, password_hash, given_name, family_name, works_here,
        may_everything, active, joined_at) OVERRIDING SYSTEM VALUE
        VALUES (7, 'ada@example.com', '!', 'Ada', 'Lovelace', false, false, true, now()) RETURNING id)
        SELECT setval(pg_get_serial_sequence('people_person', 'id'), 1000) FROM ada""",
}


@pytest.fixture(scope="module")
def filled(running: Get) -> Get:
    """The services, each with a few rows."""
    seen = set()

    def get(name: str) -> RunningService:
        service = running(name)
        if name not in seen:
            service.rows(ROWS[name])
            if name == "users":  # who does not own the customers gives no tokens
                service.rows(OWNED, name)
            seen.add(name)
        return service

    return get


@pytest.mark.parametrize("name", NAMES)
def test_the_openapi_document_is_complete_and_made_without_a_warning(running: Get, name: str) -> None:
    document = running(name).document
    assert document["openapi"] == "3.1.0"
    found = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    assert found == OPERATIONS[name]


@pytest.mark.parametrize("name", NAMES)
def test_alive_ready_and_precise_about_what_is_not_there(running: Get, name: str) -> None:
    with httpx2.Client(base_url=running(name).url, timeout=30) as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").json() == {"status": "ready"}
        nothing = client.get("/api/nothing/")
        assert (nothing.status_code, nothing.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("name", "path", "method"), [(name, *each) for name in NAMES for each in sorted(OPERATIONS[name])]
)
def test_every_answer_to_generated_requests_is_one_the_document_declares(
    filled: Get, name: str, path: str, method: str
) -> None:
    service = filled(name)
    document: Any = schemathesis.openapi.from_url(f"{service.url}/api/schema/")
    operation = document[path][method]
    cases = operation.as_strategy()
    if "{id}" in path or "{product}" in path:
        cases |= operation.as_strategy(path_parameters={path.split("{")[1].split("}")[0]: 1})
    cookies = {**identity_rig.cookies(7, "Ada", audience=(name,), staff=True), "csrftoken": CSRF}

    @settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(cases)
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(headers={"X-CSRFToken": CSRF}, cookies=cookies, excluded_checks=UNDECIDABLE)

    check()
