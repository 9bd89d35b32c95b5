"""A service's parked events, sagas and records in the console, whose web process cannot name the service's database."""

import datetime as dt
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from migration_tools.messaging.envelope import Envelope
from migration_tools.state.models import JournalEntry, Request, RequestState
from tests.conftest import ROOT
from tests.console.legible import unreadable
from tests.console.scene import ANNEX, MOVER, WATCHER, Scene, awaited
from tests.console.test_asking import OVERVIEW, ended
from tests.integration.test_chain import CHAIN, EVENT, SAGA, SECRET

pytestmark = pytest.mark.thorough

AT = 910_000
BOARD = "/strangle/console/"
READER = "INSERT INTO strangle_consumer (stream, name, position) VALUES ('orders', %s, 0)"
PARKED = """INSERT INTO strangle_dead_letter (stream, position, aggregate_type, aggregate_id, envelope, reason, detail,
        attempts) VALUES ('orders', %s, %s, 'Ab-7', %s, 'its handler failed', '', 3)"""
LOG = "SELECT outcome, actor, reason FROM strangle_dead_letter_log WHERE position = %s"
WAITING = "SELECT count(*) FROM strangle_dead_letter WHERE position = %s"


@dataclass
class Planted:
    """On both sides an event is parked under the same key, and in the service another one and a saga."""

    shop: Scene
    shop_db: Any
    orders_db: Any
    saga: str

    def one(self, side: str, query: str, *values: Any) -> Any:
        return (self.orders_db if side == "orders" else self.shop_db).execute(query, list(values)).fetchone()


def event(position: int, kind: str) -> str:
    made = Envelope(
        event_id=uuid.uuid4(), aggregate_type=kind, aggregate_id="Ab-7", event_type="test.parked", event_version=1,
        timestamp=dt.datetime.now(tz=dt.UTC), correlation_id=CHAIN, causation_id=None, payload={"email": SECRET},
        stream="orders", origin="orders", position=position,
    )  # fmt: skip
    return json.dumps(made.to_json())


@pytest.fixture(scope="module")
def planted(shop: Scene) -> Iterator[Planted]:
    sold = str(uuid.uuid4())
    payload = json.dumps({"email": SECRET})
    with shop.pair.connect("shop") as source, shop.pair.connect("orders") as target:
        source.execute(EVENT, [sold, "test.sold", payload, CHAIN, None, 0])
        target.execute(EVENT, [str(uuid.uuid4()), "test.shipped", payload, CHAIN, sold, -5])
        source.execute(PARKED, [AT, "order", event(AT, "order")])
        target.execute(PARKED, [AT, "order", event(AT, "order")])
        target.execute(PARKED, [AT + 1, "parcel", event(AT + 1, "parcel")])
        target.execute(SAGA, [json.dumps({"email": SECRET, "customer": 1, "lines": []}), CHAIN])
        row = target.execute("SELECT saga_id::text FROM saga_state WHERE correlation_id = %s", [CHAIN]).fetchone()
        made = Planted(shop=shop, shop_db=source, orders_db=target, saga=str(row[0]) if row else "")
        try:
            shop.observed("the service", lambda seen: len(seen["service"].get("letters", [])) == 2 and _numbered(seen))
            yield made
        finally:
            for conn in (source, target):
                conn.execute("DELETE FROM strangle_dead_letter WHERE position >= %s", [AT])
                conn.execute("DELETE FROM saga_state WHERE correlation_id = %s", [CHAIN])


@pytest.fixture(scope="module")
def beside(shop: Scene) -> Iterator[Planted]:
    """The like in a service that no playbook names, which reads a stream of the monolith, and has numbered an event."""
    with (
        shop.pair.connect("shop") as source,
        psycopg.connect(shop.pair.cluster.dsn(shop.annex), autocommit=True) as annex,
    ):
        source.execute(READER, ["group facts of annex"])
        annex.execute(EVENT, [str(uuid.uuid4()), "test.carried", json.dumps({"email": SECRET}), CHAIN, None, 0])
        relayed(shop, annex)
        annex.execute(PARKED, [AT, "order", event(AT, "order")])
        annex.execute(SAGA, [json.dumps({"email": SECRET, "customer": 1, "lines": []}), CHAIN])
        row = annex.execute("SELECT saga_id::text FROM saga_state WHERE correlation_id = %s", [CHAIN]).fetchone()
        made = Planted(shop=shop, shop_db=source, orders_db=annex, saga=str(row[0]) if row else "")
        shop.observed("the annex", lambda seen: seen["service"].get("letters"), of=ANNEX)
        yield made
        source.execute("DELETE FROM strangle_consumer WHERE name = 'group facts of annex'")


def relayed(shop: Scene, annex: Any) -> None:
    """Let the service's own relay number what it has published."""
    relay = subprocess.Popen(
        [sys.executable, "manage.py", "strangle_relay", "orders", "--settings", "extracted_services.orders.settings"],
        cwd=ROOT,
        env={**shop.pair.environment(), "ORDERS_DB_NAME": shop.annex},
        stderr=subprocess.DEVNULL,
    )
    try:
        query = "SELECT count(*) FROM strangle_stream WHERE event_type = 'test.carried'"
        awaited("the event has a number", lambda: annex.execute(query).fetchone() == (1,))
    finally:
        relay.terminate()
        relay.wait(30)


def _numbered(seen: dict[str, Any]) -> bool:
    return "test.shipped" in {each["name"] for each in seen["service"]["latest"]}


def section(page: Any, side: str, key: str) -> Any:
    """The card of a parked event of one side."""
    return page.locator(f"h2#side-{side} ~ .grid").first.locator("section.card", has_text=f"{key}/Ab-7").last


def asked(page: Any, phrase: str, reason: str) -> Request:
    page.fill("#reason", reason)
    page.fill("#phrase", phrase)
    page.click("form.ask button")
    page.wait_for_url("**/requests/*/")
    return ended(int(page.url.rstrip("/").rpartition("/")[2]))


def test_a_service_s_event_is_handled_again_there_and_the_same_key_of_the_monolith_is_left_alone(
    planted: Planted, visit: Any, photograph: Any
) -> None:
    page = visit()
    page.goto(OVERVIEW + "letters/")
    assert SECRET not in page.content()
    for size in ("laptop", "phone"):
        photograph(page if size == "laptop" else _phone(visit), f"letters-of-a-service-{size}-light")
    section(page, "orders", "order").get_by_role("link", name="Replay").click()
    assert "in the service" in page.inner_text("h1")
    done = asked(page, "replay order/Ab-7 in the service", "OPS-9")
    assert (done.state, done.exit_code) == (RequestState.DONE, 0), done.output
    assert planted.one("orders", LOG, AT) == ("replayed", f"{MOVER} (console)", "OPS-9")
    assert planted.one("shop", WAITING, AT) == (1,), "the monolith's own waits on"
    entry = JournalEntry.objects.filter(context="orders", move="dead letters", step="replay in the service").get()
    assert (entry.actor, entry.reason, entry.evidence["exit_code"]) == (f"{MOVER} (console)", "OPS-9", 0)


def _phone(visit: Any) -> Any:
    page = visit(WATCHER, size="phone")
    page.goto(OVERVIEW + "letters/")
    assert page.get_by_role("link", name="Replay").count() == 0, "who may look is offered nothing"
    return page


def test_what_was_looked_at_is_what_is_given_up_or_nothing(planted: Planted, visit: Any) -> None:
    page = visit()
    page.goto(OVERVIEW + "letters/")
    give_up = section(page, "orders", "parcel").get_by_role("link", name="Give up").get_attribute("href")
    page.goto(re.sub(r"event=[^&]+", f"event={uuid.uuid4()}", give_up))
    refused = asked(page, f"give up {AT + 1} in the service", "OPS-10")
    assert (refused.state, refused.exit_code) == (RequestState.FAILED, 1), refused.output
    assert planted.one("orders", WAITING, AT + 1) == (1,)
    assert JournalEntry.objects.filter(step="skip in the service failed", reason="OPS-10").exists()
    page.goto(give_up)
    done = asked(page, f"give up {AT + 1} in the service", "OPS-11")
    assert (done.state, done.exit_code) == (RequestState.DONE, 0), done.output
    assert planted.one("orders", LOG, AT + 1)[0] == "skipped"


def test_a_service_s_saga_is_shown_with_its_side_and_settled_there(planted: Planted, visit: Any) -> None:
    page = visit()
    page.goto(OVERVIEW + "sagas/")
    assert SECRET not in page.content()
    card = page.locator("section.card", has_text=planted.saga)
    assert "it did not answer" in card.inner_text()
    card.get_by_role("link", name="Try again").click()
    done = asked(page, f"retry {planted.saga[:8]} in the service", "OPS-12")
    assert (done.state, done.exit_code) == (RequestState.DONE, 0), done.output
    assert planted.one("orders", "SELECT alarm FROM saga_state WHERE saga_id::text = %s", planted.saga) == ("",)
    entry = JournalEntry.objects.filter(context="orders", move="sagas", step="retry in the service").get()
    assert entry.evidence["arguments"][1] == planted.saga


def test_a_service_that_no_playbook_names_is_on_the_board_and_what_waits_in_it_is_settled_there(
    beside: Planted, visit: Any, photograph: Any
) -> None:
    page = visit()
    card = page.locator(f"section.card[aria-labelledby=c-{ANNEX}]")
    awaited("it is seen to read", lambda: page.goto(BOARD) and " behind" in card.inner_text())
    assert {"1 parked", "1 saga open"} <= set(card.inner_text().splitlines())
    photograph(page, "board-with-a-bystander-laptop-light")
    card.get_by_role("link").click()
    assert "orders of the monolith, group facts" in page.inner_text("section[aria-labelledby=h-lag]")
    assert page.locator(".tabs a").all_inner_texts() == ["Overview", "Events", "Dead letters", "Sagas", "Journal"]
    photograph(page, "bystander-laptop-light")
    page.get_by_role("link", name="Sagas", exact=True).click()
    assert "it did not answer" in page.locator("section.card", has_text=beside.saga).inner_text()
    page.get_by_role("link", name="Events", exact=True).click()
    assert "test.carried" in page.inner_text(".chain")
    page.get_by_role("link", name="Dead letters", exact=True).click()
    assert SECRET not in page.content()
    assert page.locator("h2").all_inner_texts() == [f"Service {ANNEX}"]
    section(page, ANNEX, "order").get_by_role("link", name="Replay").click()
    done = asked(page, "replay order/Ab-7 in the service", "OPS-13")
    assert (done.state, done.exit_code) == (RequestState.DONE, 0), done.output
    assert beside.one("orders", LOG, AT) == ("replayed", f"{MOVER} (console)", "OPS-13")
    page.goto(f"{BOARD}{ANNEX}/journal/")
    assert "replay in the service" in page.inner_text(".chain")
    page.goto(f"{BOARD}{ANNEX}/sagas/")
    page.locator("section.card", has_text=beside.saga).get_by_role("link", name="Try again").click()
    done = asked(page, f"retry {beside.saga[:8]} in the service", "OPS-14")
    assert (done.state, done.exit_code) == (RequestState.DONE, 0), done.output
    phone = visit(WATCHER, size="phone", scheme="dark")
    for path in ("", f"{ANNEX}/", f"{ANNEX}/sagas/"):
        phone.goto(BOARD + path)
        wide = phone.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert (wide <= 0, unreadable(phone)) == (True, []), path
    photograph(phone, "bystander-phone-dark")


def test_a_correlation_is_one_story_over_both_sides_asked_for_by_who_may_only_look(
    planted: Planted, beside: Planted, visit: Any, photograph: Any
) -> None:
    page = visit(WATCHER)
    page.goto(OVERVIEW + "events/")
    newest = [each.inner_text() for each in page.locator(".chain li").all()]
    assert {each.split()[0] for each in newest} == {"monolith", "orders"}, "the newest of both sides"
    page.fill("#correlation", CHAIN)
    page.keyboard.press("Enter")
    page.wait_for_url("**correlation=**")
    page.get_by_text("Asked for").wait_for(timeout=60_000)
    links = [" ".join(each.inner_text().split()).split() for each in page.locator(".chain li").all()]
    told = [(link[0], link[1]) for link in links]
    assert told.index(("monolith", "test.sold")) < told.index(("orders", "test.shipped")), told
    assert (ANNEX, "test.carried") in told, "a service that no playbook names is asked too"
    assert SECRET not in page.content()
    photograph(page, "story-laptop-light")
    phone = visit(WATCHER, size="phone", scheme="dark")
    phone.goto(OVERVIEW + f"events/?correlation={CHAIN}")
    photograph(phone, "story-phone-dark")
    wide = phone.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
