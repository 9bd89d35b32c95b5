"""Recommendations and revenue out of ClickHouse and MongoDB: right however often and in what order the events come."""

import datetime as dt
import json
import os
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pymongo
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from migration_tools.testing.clickhouse import EmbeddedClickHouseServer
from migration_tools.testing.mongodb import EmbeddedMongo
from migration_tools.testing.postgres import EmbeddedPostgres
from tests import identity_rig
from tests.services import rig
from tests.services.rig import RunningService

NAME = "recommendations"
# The document cannot say which customer one is, nor that a period ends after it begins.
UNDECIDABLE = [positive_data_acceptance, negative_data_rejection]
CUSTOMERS, PRODUCTS, ORDERS = range(1, 9), range(1, 13), 60
FIRST = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
HEAR = """
import datetime as dt, json, sys, uuid
from django.db import transaction
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handling import HandlerFailed, handle
for at, (event_type, moment, payload) in enumerate(json.load(open({path!r}))):
    event = Envelope(event_id=uuid.uuid4(), aggregate_id=payload["public_id"], aggregate_type="order",
        event_type=event_type, event_version=1, timestamp=dt.datetime.fromisoformat(moment), correlation_id=None,
        causation_id=None, payload=payload, stream="orders", origin="orders", position=at + 1)
    try:
        with transaction.atomic():
            handle(event, "facts")
    except HandlerFailed as failed:
        print(json.dumps([failed.passing, failed.reason]))
"""
Event = tuple[str, str, dict[str, Any]]


@dataclass(frozen=True)
class Kept:
    """Where the facts are: an engine as messages call it, and its server, unless another may not be ended."""

    name: str
    url: str
    server: EmbeddedClickHouseServer | EmbeddedMongo | None


@pytest.fixture(scope="module", params=["ClickHouse", "MongoDB"])
def kept(request: pytest.FixtureRequest) -> Iterator[Kept]:
    """A store of this file's own, or the MongoDB that MONGODB_URL names."""
    if request.param == "ClickHouse":
        with EmbeddedClickHouseServer() as clickhouse:
            yield Kept(request.param, clickhouse.url, clickhouse)
    elif "MONGODB_URL" in os.environ:
        with pymongo.MongoClient[Any](os.environ["MONGODB_URL"]) as client:
            client.get_default_database()["order_facts"].drop()
        yield Kept(request.param, os.environ["MONGODB_URL"], None)
    else:
        with EmbeddedMongo() as mongodb:
            yield Kept(request.param, f"{mongodb.url}&serverSelectionTimeoutMS=500", mongodb)


@pytest.fixture(scope="module")
def service(cluster: EmbeddedPostgres, kept: Kept) -> Iterator[RunningService]:
    """The service, with its facts in that store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECOMMENDATIONS_STORE_ENGINE", kept.name.lower())
        patch.setenv("RECOMMENDATIONS_STORE_URL", kept.url)
        with rig.served(cluster, NAME) as running:
            yield running


def business(seed: int) -> tuple[list[Event], dict[str, tuple[int, set[int]]]]:
    """Random orders as their events, and (customer, products) of each."""
    dice = random.Random(seed)
    events: list[Event] = []
    orders: dict[str, tuple[int, set[int]]] = {}
    for _ in range(ORDERS):
        order, customer = str(uuid.UUID(int=dice.getrandbits(128), version=4)), dice.choice(CUSTOMERS)
        bought = dice.sample(PRODUCTS, dice.randint(1, 3))
        moment = FIRST + dt.timedelta(days=dice.randint(0, 4))
        lines = [{"product": product, "quantity": dice.randint(1, 3)} for product in bought]
        common = {"order_id": len(orders) + 1, "public_id": order}
        placed = {"user_id": customer, "total": "1.00", "currency": "EUR", "lines": lines}
        events.append(("order.placed", moment.isoformat(), {**common, **placed}))
        orders[order] = (customer, set(bought))
        if dice.random() < 0.7:
            amount = f"{dice.randint(1, 99_999) / 100:.2f}"
            events.append(("order.paid", moment.isoformat(), {**common, "amount": amount}))
        if dice.random() < 0.2:
            events.append(("order.cancelled", moment.isoformat(), {**common, "lines": lines}))
    return events, orders


def hear(service: RunningService, events: list[Event], tmp_path: Any) -> list[Any]:
    """Deliver events to the service's handlers, in this order; what failed."""
    path = tmp_path / "events.json"
    path.write_text(json.dumps(events))
    done = service.manage("shell", "-v0", "-c", HEAR.format(path=str(path)))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def answers(service: RunningService) -> tuple[dict[int, Any], Any]:
    """What every customer is recommended, and the revenue of all days."""
    shown = {}
    for customer in CUSTOMERS:
        with service.browser(customer) as browser:
            shown[customer] = browser.get(f"/api/recommendations/{customer}/").json()
    with service.browser(1, staff=True) as staff:
        return shown, staff.get("/api/analytics/revenue/?first=2026-01-01&last=2026-12-31").json()


def expected(events: list[Event], orders: dict[str, tuple[int, set[int]]]) -> tuple[dict[int, Any], Any]:
    """The same, computed here from the events."""
    shown = {}
    for customer in CUSTOMERS:
        own = set().union(*(bought for buyer, bought in orders.values() if buyer == customer))
        counts: Counter[int] = Counter()
        for _, bought in orders.values():
            counts.update(bought - own if bought & own else ())
        best = sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:10]
        shown[customer] = [{"product": product, "together": count} for product, count in best]
    cancelled = {said["public_id"] for kind, _, said in events if kind == "order.cancelled"}
    days: dict[str, list[Decimal]] = {}
    for kind, moment, said in events:
        if kind == "order.paid" and said["public_id"] not in cancelled:
            days.setdefault(moment[:10], []).append(Decimal(said["amount"]))
    return shown, [
        {"day": day, "orders": len(amounts), "amount": str(sum(amounts)).rstrip("0").rstrip(".")}
        for day, amounts in sorted(days.items())
    ]


@pytest.mark.thorough
def test_events_shuffled_and_delivered_twice_give_the_same_totals_and_recommendations(
    service: RunningService, tmp_path: Any
) -> None:
    events, orders = business(20260)
    twice = events + events
    random.Random(7).shuffle(twice)
    assert hear(service, twice, tmp_path) == []
    right = expected(events, orders)
    assert answers(service) == right
    with service.browser(1) as browser:
        assert browser.get("/api/recommendations/2/").status_code == 404
        assert browser.get("/api/analytics/revenue/?first=2026-01-01&last=2026-12-31").status_code == 403
    with service.browser(1, staff=True) as staff:
        assert staff.get("/api/analytics/revenue/?first=2026-02-01&last=2026-01-01").status_code == 400
    with service.browser(99) as stranger:
        assert stranger.get("/api/recommendations/99/").json() == []


@pytest.mark.thorough
def test_while_the_store_is_away_questions_are_503_and_no_event_is_given_up(
    service: RunningService, kept: Kept, tmp_path: Any
) -> None:
    if kept.server is None:
        pytest.skip("ends the server")
    events, _ = business(20261)
    before = answers(service)
    kept.server.kill()
    try:
        failed = hear(service, events[:1], tmp_path)
        assert [passing for passing, _ in failed] == [True]
        assert f"{kept.name} does not answer" in failed[0][1]
        with service.browser(1) as browser:
            said = browser.get("/api/recommendations/1/")
            assert (said.status_code, said.headers["Retry-After"]) == (503, "1")
            assert browser.get("/readyz").status_code == 200
    finally:
        kept.server.start()
    assert answers(service) == before
    assert hear(service, events[:1], tmp_path) == []


@pytest.mark.thorough
def test_a_process_that_was_started_while_the_store_was_away_answers_when_it_is_back(
    service: RunningService, kept: Kept
) -> None:
    if kept.server is None:
        pytest.skip("ends the server")
    with rig.serving(NAME, service.database) as url, service.browser(1) as browser:
        here, late = (f"{each}/api/recommendations/1/" for each in (service.url, url))
        before = browser.get(here).json()
        kept.server.kill()
        try:
            assert {browser.get(late).status_code for _ in range(3)} == {503}
        finally:
            kept.server.start()
        assert [browser.get(each).json() for each in (late, here)] == [before, before]


def test_facts_are_kept_in_no_engine_that_cannot_be_asked_for_them(service: RunningService) -> None:
    done = service.manage("check", RECOMMENDATIONS_STORE_ENGINE="redis")
    assert done.returncode != 0
    assert "RECOMMENDATIONS_STORE_ENGINE is 'redis', where no facts are kept; set it to one of" in done.stderr


@pytest.mark.parametrize("path", ["/api/recommendations/{customer}/", "/api/analytics/revenue/"])
def test_every_answer_to_generated_requests_is_one_the_document_declares(service: RunningService, path: str) -> None:
    assert service.document["openapi"] == "3.1.0"
    assert path in service.document["paths"]
    operation = schemathesis.openapi.from_url(f"{service.url}/api/schema/")[path]["GET"]
    cases = operation.as_strategy()
    if "{customer}" in path:
        cases |= operation.as_strategy(path_parameters={"customer": 1})
    cookies = {**identity_rig.cookies(1, "Ada", audience=(NAME,), staff=True), "csrftoken": rig.CSRF}

    @settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(cases)
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(cookies=cookies, excluded_checks=UNDECIDABLE)

    check()
