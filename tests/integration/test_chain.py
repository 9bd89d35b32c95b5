"""One correlation followed through the monolith's and a service's database, and what waits there for somebody."""

import datetime as dt
import json
import uuid
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from migration_tools.overview.chain import Link
from migration_tools.overview.observing import read_service
from migration_tools.overview.story import follow, in_order
from migration_tools.overview.waiting import read_letters
from playbooks.orders import Orders

SECRET = "zoe@example.com"
CHAIN = "chain-across-the-sides"
EVENT = """INSERT INTO strangle_outbox (stream, kind, event_id, event_type, event_version, aggregate_type, aggregate_id,
        payload, correlation_id, causation_id, metadata, occurred_at)
    VALUES ('orders', 'e', %s, %s, 1, 'order', '7', %s, %s, %s, '{}', clock_timestamp() + %s * interval '1 second')"""
PARKED = """INSERT INTO strangle_dead_letter (stream, position, aggregate_type, aggregate_id, envelope, reason, detail,
        attempts)
    VALUES (%s, %s, 'order', '7', %s, 'LookupError in take, line 7', %s, 3)"""
SAGA = """INSERT INTO saga_state (saga_id, saga_type, version, context, current_step, max_steps, status, attempt,
        payload, steps_completed, steps_compensated, alarm, alarm_at, correlation_id)
    VALUES (gen_random_uuid(), 'checkout', 1, 'orders', 1, 4, 'running', 2, %s, '["create"]', '[]',
        'it did not answer', now(), %s)"""


def envelope(event: str, name: str, stream: str = "orders") -> str:
    return json.dumps(
        {
            "eventId": event, "eventType": name, "eventVersion": 1, "aggregateType": "order", "aggregateId": "7",
            "timestamp": "2026-11-30T10:00:00+00:00", "correlationId": CHAIN, "causationId": None,
            "payload": {"email": SECRET}, "metadata": {}, "stream": stream, "origin": "shop", "position": 3,
        }
    )  # fmt: skip


@pytest.fixture
def told(stage: Any) -> tuple[str, str]:
    """The monolith sells; the service, whose clock is five seconds slow, ships because of it, and two handlers fail."""
    sold, shipped = str(uuid.uuid4()), str(uuid.uuid4())
    payload = json.dumps({"email": SECRET, "lines": [1, 2]})
    with stage.shop.transaction():
        stage.shop.execute("SELECT set_config('strangle.correlation', %s, true)", [CHAIN])
        stage.shop.execute(EVENT, [sold, "order.paid", payload, CHAIN, None, 0])
        stage.shop.execute(EVENT, [str(uuid.uuid4()), "order.other", payload, "another", None, 0])
    stage.orders.execute(EVENT, [shipped, "order.shipped", payload, CHAIN, sold, -5])
    stage.tick()
    stage.tick(reverse=True)
    stage.orders.execute(PARKED, ["orders", 3, envelope(sold, "order.paid"), SECRET])
    stage.orders.execute(PARKED, ["catalog@products", 4, envelope(shipped, "product.changed", "catalog"), SECRET])
    stage.orders.execute(SAGA, [payload, CHAIN])
    return sold, shipped


def test_a_chain_is_one_story_over_both_sides_with_no_effect_before_its_cause(told: tuple[str, str]) -> None:
    story = follow(CHAIN)
    assert (story.places, story.unreachable) == (["monolith", "orders"], {})
    found = [(each.place, each.kind, each.name) for each in story.links]
    assert found.index(("monolith", "event", "order.paid")) < found.index(("orders", "event", "order.shipped"))
    assert set(found) == {
        ("monolith", "event", "order.paid"),
        ("orders", "event", "order.shipped"),
        ("orders", "parked", "order.paid"),
        ("orders", "parked", "product.changed"),
        ("orders", "saga", "checkout"),
    }
    notes = {each.name: each.note for each in story.links if each.kind != "event"}
    assert notes["product.changed"] == "group products: LookupError in take, line 7"
    assert notes["checkout"] == "running, step 2 of 4"
    assert SECRET not in json.dumps(story.to_json())
    assert story.links[0].shape == {"email": "text of 15", "lines": ["int", "int"]}


def test_the_command_tells_it_and_says_whom_it_could_not_ask(told: tuple[str, str]) -> None:
    out = StringIO()
    call_command("strangle_chain", CHAIN, stdout=out)
    lines = out.getvalue().splitlines()
    assert lines[-1] == "5 records in monolith, orders"
    assert [line.split("  ")[1].split()[0] for line in lines[:-1]].count("orders/orders") == 3
    assert SECRET not in out.getvalue()
    there = connections["orders"].settings_dict
    connections["orders"].close()
    name, there["NAME"] = there["NAME"], "nowhere"
    try:
        out = StringIO()
        with pytest.raises(CommandError, match=r"'orders'.*does not exist") as refused:
            call_command("strangle_chain", CHAIN, "--format", "json", stdout=out)
    finally:
        there["NAME"] = name
    assert refused.value.returncode == 1
    document = json.loads(out.getvalue())
    assert [each["name"] for each in document["links"]] == ["order.paid"], "what can be seen is shown"
    assert set(document["unreachable"]) == {"orders"}


def test_what_waits_in_the_service_is_observed_by_its_shape(told: tuple[str, str]) -> None:
    seen = read_service(Orders)
    assert [(each["stream"], each["group"], each["key"]) for each in seen["letters"]] == [
        ("catalog", "products", "order/7"),
        ("orders", "", "order/7"),
    ]
    assert [each["saga"]["why"] for each in seen["sagas"]] == ["it did not answer"]
    assert [each["name"] for each in seen["latest"]] == ["order.shipped"]
    assert SECRET not in json.dumps(seen)
    assert read_letters(connections["default"], "orders") == [], "those are the service's, not the monolith's"
    assert len(read_letters(connections["orders"], "catalog")) == 1
    connections["orders"].close()


def test_looking_can_write_nothing(told: tuple[str, str]) -> None:
    from migration_tools.errors import StrangleError
    from migration_tools.overview.looking import looking, rows

    with pytest.raises(StrangleError, match="read-only transaction"), looking("orders") as conn:
        rows(conn, "DELETE FROM strangle_dead_letter RETURNING 1")


def link(name: str, second: int, *, causation: str = "", position: int = 1) -> Link:
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=second)
    return Link(
        side="service", place="orders", stream="orders", position=position, kind="event", name=name, key="7",
        correlation="c", causation=causation, at=at, shape=None, event_id=name,
    )  # fmt: skip


def test_the_order_is_that_of_time_but_for_effects_whose_clock_is_slow() -> None:
    given = [link("c", 1, causation="b"), link("b", 2, causation="a"), link("a", 5), link("d", 3), link("e", 9)]
    assert [each.name for each in in_order(given)] == ["d", "a", "b", "c", "e"]
    circle = [link("x", 1, causation="y"), link("y", 2, causation="x"), link("z", 3, causation="z")]
    assert sorted(each.name for each in in_order(circle)) == ["x", "y", "z"], "what causes itself is shown all the same"
