"""Moves asked for in the browser: who may, what is typed, what the operator's process believes, how it ends."""

import datetime as dt
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import psycopg
import pytest
from django.core import signing

from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.models import DeadLetter, DeadLetterLog
from migration_tools.overview import requests
from migration_tools.state.journal import phase_of
from migration_tools.state.models import JournalEntry, Request, RequestState
from tests.console.scene import CUSTOMER, MOVER, PASSWORD, SECONDS, WATCHER, Scene, awaited, stick_sagas

pytestmark = pytest.mark.thorough

SECRET = "zoe@example.com"
OVERVIEW = "/strangle/console/orders/"


def ended(number: int) -> Request:
    over = {RequestState.DONE, RequestState.FAILED, RequestState.REFUSED, RequestState.LOST}
    return awaited(f"request {number} ends", lambda: Request.objects.filter(pk=number, state__in=over).first())


def test_a_move_is_asked_for_typed_carried_out_and_journalled_under_the_asker_s_name(
    shop: Scene, visit: Any, photograph: Any
) -> None:
    page = visit()
    page.goto(OVERVIEW + "ask/forward/")
    page.fill("#reason", "the first step")
    page.fill("#phrase", "dual write order")
    page.click("form.ask button")
    assert "to confirm" in page.inner_text("[role=alert]")
    assert not Request.objects.exists()
    page.fill("#phrase", "dual write orders")
    page.click("form.ask button")
    page.wait_for_url("**/requests/*/")
    photograph(page, "request-waiting-laptop-light")
    page.wait_for_selector(".chip.good", timeout=SECONDS * 1000)
    photograph(page, "request-done-laptop-light")
    assert phase_of("orders") == "dual_write"
    entry = JournalEntry.objects.filter(context="orders", move="to dual_write", step="started").get()
    assert (entry.actor, entry.reason) == (f"{MOVER} (console)", "the first step")


def test_a_move_whose_gates_are_shut_is_refused_by_the_command_itself(shop: Scene, visit: Any) -> None:
    if phase_of("orders") == "monolith_only":  # the test above asks for the first step
        shop.command("strangle_dual_write")
    shop.command("strangle_backfill")
    page = visit(size="phone", scheme="dark")
    page.goto(OVERVIEW + "ask/forward/")
    page.fill("#phrase", "verify orders")
    page.click("form.ask button")
    page.wait_for_url("**/requests/*/")
    number = int(page.url.rstrip("/").rpartition("/")[2])
    row = ended(number)
    # strangle_verify makes the evidence that its own gate asks for.
    assert (row.state, row.exit_code, phase_of("orders")) == (RequestState.DONE, 0, "verify"), row.output


def test_stuck_sagas_are_tried_again_and_taken_back_with_a_reason_and_behind_the_pivot_refused(
    shop: Scene, visit: Any, photograph: Any
) -> None:
    before_pivot, at_pivot = stick_sagas(shop)
    sagas, page = OVERVIEW + "sagas/", visit()

    def asked(saga: str, what: str, button: str) -> Request:
        page.goto(sagas)
        assert "zoe@example.com" not in page.content()
        page.locator("section.card", has_text=saga).get_by_role("link", name=button).click()
        page.fill("#reason", f"OPS-9 {what}")
        page.fill("#phrase", f"{what} wrong")
        page.click("form.ask button")
        assert f"{what} {saga[:8]}" in page.inner_text("[role=alert]")
        page.fill("#phrase", f"{what} {saga[:8]}")
        page.click("form.ask button")
        page.wait_for_url("**/requests/*/")
        return ended(int(page.url.rstrip("/").rpartition("/")[2]))

    with shop.pair.connect("shop") as conn:
        attempts = "SELECT attempt, alarm, status FROM saga_state WHERE saga_id = %s"
        done = asked(at_pivot, "retry", "Try again")
        assert (done.state, done.exit_code) == (RequestState.DONE, 0), done.output
        assert conn.execute(attempts, [at_pivot]).fetchone() == (4, "", "running")
        refused = asked(at_pivot, "compensate", "Take back")
        assert (refused.state, refused.exit_code) == (RequestState.FAILED, 4), refused.output
        done = asked(before_pivot, "compensate", "Take back")
        assert (done.state, done.exit_code) == (RequestState.DONE, 0), done.output
        status = "SELECT status FROM saga_state WHERE saga_id = %s"
        assert conn.execute(status, [before_pivot]).fetchone() == ("compensating",)
        photograph(page, "request-saga-laptop-light")
        conn.execute("DELETE FROM saga_state")
    entry = JournalEntry.objects.filter(context="orders", move="sagas", step="recalled").get()
    assert (entry.actor, entry.reason) == (f"{MOVER} (console)", "OPS-9 compensate")


def test_parked_events_are_handled_again_and_given_up_by_keyboard_alone(
    shop: Scene, visit: Any, photograph: Any
) -> None:
    shop.stage.settle()
    for number, kind in ((900_001, "order"), (900_002, "parcel")):
        event = Envelope(
            event_id=uuid.uuid4(), aggregate_type=kind, aggregate_id="Ab-7", event_type="test.parked", event_version=1,
            timestamp=dt.datetime.now(tz=dt.UTC), correlation_id="c", causation_id=None, payload={"email": SECRET},
            stream="orders", origin="orders", position=number,
        )  # fmt: skip
        DeadLetter.objects.create(
            stream="orders", position=number, aggregate_type=kind, aggregate_id="Ab-7", envelope=event.to_json(),
            reason="its handler failed", attempts=3,
        )  # fmt: skip
    page = visit(size="phone")

    def pressed(kind: str, link: str, phrase: str) -> Request:
        page.goto(OVERVIEW + "letters/")
        assert SECRET not in page.content()
        wanted = page.locator("section.card", has_text=f"{kind}/Ab-7").get_by_role("link", name=link)
        tab_to(page, wanted)
        page.keyboard.press("Enter")
        page.wait_for_url("**/ask/**")
        tab_to(page, page.locator("#reason"))
        page.keyboard.type(f"OPS-9 {kind}")
        tab_to(page, page.locator("#phrase"))
        page.keyboard.type(phrase)
        photograph(page, f"ask-{phrase.split()[0]}-phone-light")
        tab_to(page, page.locator("form.ask button"))
        page.keyboard.press("Enter")
        page.wait_for_url("**/requests/*/")
        return ended(int(page.url.rstrip("/").rpartition("/")[2]))

    done = pressed("order", "Replay", "replay order/Ab-7")
    assert (done.state, done.exit_code) == (RequestState.DONE, 0), done.output
    done = pressed("parcel", "Give up", "give up 900002")
    assert (done.state, done.exit_code) == (RequestState.DONE, 0), done.output
    assert not DeadLetter.objects.filter(position__gt=900_000).exists()
    ends = DeadLetterLog.objects.filter(position__gt=900_000).order_by("position")
    assert [(each.outcome, each.actor, each.reason) for each in ends] == [
        ("replayed", f"{MOVER} (console)", "OPS-9 order"),
        ("skipped", f"{MOVER} (console)", "OPS-9 parcel"),
    ]
    page.goto(OVERVIEW + "letters/")
    assert "skipped by" in " ".join(page.inner_text("main").split())


def tab_to(page: Any, wanted: Any) -> None:
    """Go on with Tab until something has the focus, which one must see."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            assert wanted.evaluate("element => getComputedStyle(element).outlineStyle") != "none"
            return
    raise AssertionError(f"Tab never came to {wanted}")


def test_a_saga_of_another_context_and_one_without_a_reason_are_not_asked_for(shop: Scene) -> None:
    saga, other = stick_sagas(shop)
    with shop.pair.connect("shop") as conn:
        conn.execute("UPDATE saga_state SET context = 'catalog' WHERE saga_id = %s", [other])
    before = Request.objects.count()
    with logged_in(shop, MOVER) as mover:
        token = {"X-CSRFToken": mover.cookies["csrftoken"]}
        for which, what, reason, says in (
            (other, "retry", "r", "no saga"),
            (saga, "compensate", " ", "with a reason only"),
        ):
            form = {"saga": which, "phrase": f"{what} {which[:8]}", "reason": reason}
            answer = mover.post(OVERVIEW + f"ask/{what}/", data=form, headers=token)
            assert (answer.status_code, says in answer.text) == (422, True)
    with logged_in(shop, WATCHER) as watcher:
        assert "Try again" not in watcher.get(OVERVIEW + "sagas/").text
        assert watcher.get(OVERVIEW + f"ask/retry/?saga={saga}").status_code == 403
    assert Request.objects.count() == before
    with shop.pair.connect("shop") as conn:
        conn.execute("DELETE FROM saga_state")


def test_only_staff_look_and_only_with_the_permission_one_asks(shop: Scene) -> None:
    with httpx2.Client(base_url=shop.url) as stranger:
        assert "/login/" in stranger.get(OVERVIEW).headers["location"]
        partial = stranger.get(OVERVIEW, headers={"HX-Request": "true"})
        assert (partial.status_code, partial.headers["hx-refresh"], partial.text) == (204, "true", "")
    with logged_in(shop, CUSTOMER) as customer:
        assert customer.get(OVERVIEW).status_code == 403
    with logged_in(shop, WATCHER) as watcher:
        answer = watcher.get(OVERVIEW)
        assert answer.status_code == 200
        assert "ask/forward" not in answer.text
        assert watcher.get(OVERVIEW + "ask/forward/").status_code == 403
        before = Request.objects.count()
        token = watcher.cookies["csrftoken"]
        asked = watcher.post(OVERVIEW + "ask/verify/", data={"phrase": ""}, headers={"X-CSRFToken": token})
        assert (asked.status_code, Request.objects.count()) == (403, before)


def test_a_post_without_the_token_of_the_form_asks_for_nothing(shop: Scene) -> None:
    before = Request.objects.count()
    with logged_in(shop, MOVER) as mover:
        assert mover.post(OVERVIEW + "ask/verify/", data={"phrase": ""}).status_code == 403
    assert Request.objects.count() == before


@contextmanager
def logged_in(shop: Scene, who: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=shop.url, headers={"Referer": shop.url}) as client:
        client.get("/login/")
        form = {"username": who, "password": PASSWORD}
        answer = client.post("/login/", data=form, headers={"X-CSRFToken": client.cookies["csrftoken"]})
        assert answer.status_code == 302, answer.text
        yield client


@pytest.mark.parametrize("forged", ["another key", "another row's ticket", "a command that is not for requests", "old"])
def test_the_operator_s_process_believes_no_ticket_but_its_own(shop: Scene, forged: str) -> None:
    said = {"context": "orders", "command": "strangle_rollback", "arguments": ["orders"], "actor": "mallory"}
    good = signing.dumps({**said, "nonce": "n0"}, salt=requests.SALT)
    ticket = {
        "another key": signing.dumps({**said, "nonce": forged}, salt=requests.SALT, key="k" * 50),
        "another row's ticket": good,
        "a command that is not for requests": signing.dumps(
            {**said, "command": "flush", "nonce": forged}, salt=requests.SALT
        ),
        "old": _signed_long_ago({**said, "nonce": forged}),
    }[forged]
    phase = phase_of("orders")
    with shop.pair.connect("shop", "shop_app") as injected:
        number = injected.execute(
            "INSERT INTO strangle_request (context, ticket, nonce, title, actor, state, output) "
            "VALUES ('orders', %s, %s, 'roll back', 'mallory', 'waiting', '') RETURNING id",
            [ticket, forged],
        ).fetchone()[0]
        assert ended(number).state == RequestState.REFUSED
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            injected.execute("UPDATE strangle_request SET state = 'waiting' WHERE id = %s", [number])
    assert phase_of("orders") == phase


def _signed_long_ago(said: dict[str, Any]) -> str:
    import time_machine

    with time_machine.travel("2026-01-01", tick=False):
        return signing.dumps(said, salt=requests.SALT)


def test_polling_leaves_the_focus_where_the_keyboard_put_it(shop: Scene, visit: Any) -> None:
    page = visit()
    page.goto(OVERVIEW)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.focus("#go-forward")
    page.evaluate("document.querySelector('#live h1').dataset.before = 'yes'")
    awaited("a poll", lambda: page.evaluate("!document.querySelector('#live h1').dataset.before"))
    assert page.evaluate("document.activeElement.id") == "go-forward"
    assert page.evaluate("document.querySelectorAll('svg[role=img]:not([aria-label])').length") == 0


def test_polling_leaves_open_what_was_opened_and_shut_what_was_shut(shop: Scene, visit: Any) -> None:
    saga, _ = stick_sagas(shop)
    page = visit()
    page.goto(OVERVIEW + "sagas/")
    log = f"document.getElementById('l-{saga}')"
    for wanted in (True, False):
        page.locator(f"[id='l-{saga}']").click()
        for _ in range(2):
            page.evaluate(f"{log}.dataset.before = 'yes'")
            awaited("a poll", lambda: page.evaluate(f"!{log}.dataset.before"))
            assert page.evaluate(f"{log}.parentElement.open") == wanted
    with shop.pair.connect("shop") as conn:
        conn.execute("DELETE FROM saga_state")


@pytest.mark.parametrize("failure", ["refused", "answered with 503"])
def test_a_page_that_cannot_be_refreshed_says_since_when(shop: Scene, visit: Any, failure: str) -> None:
    page = visit(told="ERR_FAILED|status of 503|Response Status Error Code 503|htmx:")
    page.goto(OVERVIEW)
    stale = page.locator("#stale")
    assert not stale.is_visible()
    answer = (lambda route: route.abort()) if failure == "refused" else (lambda route: route.fulfill(status=503))
    page.route("**/orders/", answer)
    stale.wait_for(state="visible")
    assert re.search(r"does not answer.*seen at \d\d:\d\d:\d\d", stale.inner_text())
    page.unroute("**/orders/")
    stale.wait_for(state="hidden")
