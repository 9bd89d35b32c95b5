"""Identity, CSRF and own writes through Envoy with the monolith and the service under gunicorn."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from migration_tools.routing.table import side_for, user_bucket_key, with_reads, with_writes
from tests.conftest import cloned_pair
from tests.integration.proxy_rig import await_until
from tests.integration.site_rig import Browser, Site, side_of, site

pytestmark = pytest.mark.thorough

TOKEN = "sx_identity"
OWN_WRITE = "sx_after_orders_"
PIN = "sx_pin_orders"


@pytest.fixture(scope="module")
def shop(
    cluster: Any, templates: tuple[str, str], django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    log = tmp_path_factory.mktemp("site") / "log"
    with ExitStack() as stack:
        pair = stack.enter_context(cloned_pair(cluster, templates, django_db_blocker))
        yield stack.enter_context(site(pair, Path(log)))


@pytest.fixture
def ada(shop: Site) -> Iterator[Browser]:
    """A customer who is logged in at the monolith."""
    with shop.browser() as browser:
        browser.sign_up()
        yield browser


def follow(shop: Site) -> None:
    """Let the service apply all that is committed."""
    shop.stage.settle()


def tokens(browser: Browser) -> set[str]:
    return {name for name in browser.cookies if name.startswith(OWN_WRITE)}


def test_a_login_in_the_monolith_is_honoured_by_the_service(shop: Site, ada: Browser) -> None:
    answer = ada.get("/api/orders/")
    assert (answer.status_code, side_of(answer)) == (200, "orders")
    with shop.browser() as stranger:
        answer = stranger.get("/api/orders/")
    assert (answer.status_code, side_of(answer)) == (401, "orders")


def test_write_then_read_while_the_consumer_is_stopped_sees_the_write(shop: Site, ada: Browser) -> None:
    order = ada.order()
    assert len(tokens(ada)) == 1
    ada.forget(PIN)  # its two seconds are over, and the consumer is still behind
    for _ in range(3):
        answer = ada.get(f"/api/orders/{order}/")
        assert (answer.status_code, side_of(answer)) == (200, "monolith")
    follow(shop)
    assert ada.sees(order)
    assert not tokens(ada), "the owner takes the token back when the service has the write"
    answer = ada.get(f"/api/orders/{order}/")
    assert (answer.status_code, side_of(answer)) == (200, "orders")


def test_a_fixed_pin_alone_would_lose_sight_of_the_write(shop: Site, ada: Browser) -> None:
    order = ada.order()
    ada.forget(PIN, OWN_WRITE)
    answer = ada.get(f"/api/orders/{order}/")
    assert (answer.status_code, side_of(answer)) == (404, "orders"), "else the test above shows nothing"


def test_a_numbered_write_that_is_not_applied_is_still_read_from_the_owner(shop: Site, ada: Browser) -> None:
    order = ada.order()
    ada.forget(PIN)
    shop.stage.tick()
    assert side_of(ada.get(f"/api/orders/{order}/")) == "monolith"
    assert tokens(ada)
    follow(shop)


def test_a_late_answer_to_an_earlier_read_leaves_the_token_of_a_later_write(shop: Site, ada: Browser) -> None:
    """read begun with W1's token → W2 → the read's answer, which takes W1's token away → read."""
    ada.order()
    ada.forget(PIN)
    shown = dict(ada.cookies)
    follow(shop)
    second = ada.order()
    ada.forget(PIN)
    late = ada.client.build_request("GET", "/api/orders/")
    late.headers["cookie"] = "; ".join(f"{name}={value}" for name, value in shown.items())
    answer = ada.client.send(late)
    assert any(value.startswith(OWN_WRITE) for value in answer.headers.get_list("set-cookie"))
    assert len(tokens(ada)) == 1
    assert ada.sees(second)


def test_a_second_write_takes_the_place_of_the_firsts_token(ada: Browser) -> None:
    ada.order()
    first = tokens(ada)
    ada.order()
    assert len(tokens(ada)) == 1
    assert tokens(ada) != first


def test_a_token_of_the_side_before_is_taken_by_the_new_owner_and_a_late_proxy_tries_until_it_is_told(
    shop: Site, ada: Browser
) -> None:
    order = ada.order()
    ada.forget(PIN)
    follow(shop)
    conns = (shop.stage.shop, shop.stage.orders)
    try:
        for table in ("sales_order", "sales_orderitem"):
            conns[1].execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), 1000000)")
        for conn in conns:
            conn.execute("UPDATE strangle_ownership SET owner = 'target', epoch = epoch + 1 WHERE context = 'orders'")
        # This proxy still believes in the monolith, which is no owner any more: no answer that could be old.
        answers: list[Any] = []
        waiting = threading.Thread(target=lambda: answers.append(ada.get(f"/api/orders/{order}/")))
        waiting.start()
        waiting.join(0.5)
        assert not answers
        shop.proxy.publish(lambda table: with_writes(table, "orders", "new"))
        waiting.join(10)
        assert [(a.status_code, side_of(a)) for a in answers] == [(200, "orders")]
        assert not tokens(ada)
        shop.proxy.publish(lambda table: with_reads(table, "orders", 0))
        mine = ada.order()
        assert {value.split(".")[0] for name, value in ada.cookies.items() if name in tokens(ada)} == {"orders"}
        ada.forget(PIN)
        assert side_of(ada.get(f"/api/orders/{mine}/")) == "orders"
        ada.get("/api/accounts/me/")  # the monolith is no owner and takes nothing
        assert tokens(ada)
    finally:
        for conn in conns:
            conn.execute("UPDATE strangle_ownership SET owner = 'source', epoch = epoch + 1 WHERE context = 'orders'")
        shop.proxy.publish(lambda table: with_writes(with_reads(table, "orders", 100), "orders", "old"))


def test_clients_cannot_make_the_owner_believe_them(shop: Site, ada: Browser) -> None:
    forged = {"x-strangler-writes": "orders", "x-strangler-pinned": "orders", "x-strangler-user": "1"}
    answer = ada.client.get("/api/orders/", headers=forged)
    assert side_of(answer) == "orders"
    assert not [value for value in answer.headers.get_list("set-cookie") if value.startswith(OWN_WRITE)]


def test_a_malformed_token_is_taken_away_and_harms_nobody(ada: Browser) -> None:
    ada.client.cookies.set(f"{OWN_WRITE}0123abcd", "orders.1.2.3-99999999999999999999", domain="127.0.0.1")
    assert ada.get("/api/orders/").status_code == 200
    assert not tokens(ada)


def test_a_visitor_of_the_service_alone_gets_new_tokens_from_it(shop: Site, ada: Browser) -> None:
    ada.forget(TOKEN)
    answer = ada.get("/api/orders/")
    assert (answer.status_code, side_of(answer)) == (200, "orders")
    assert TOKEN in ada.cookies
    assert "sessionid" not in answer.headers.get("set-cookie", ""), "the session is the monolith's alone"
    assert ada.get("/api/accounts/me/").status_code == 200


def test_a_token_without_its_session_counts_for_nothing(shop: Site, ada: Browser) -> None:
    token = ada.cookies[TOKEN]
    with shop.browser() as thief:
        thief.client.cookies.set(TOKEN, token, domain="127.0.0.1")
        assert thief.get("/api/orders/").status_code == 401
        thief.sign_up("Mallory")
        thief.client.cookies.set(TOKEN, token, domain="127.0.0.1")
        mallory = thief.get("/api/orders/")
        assert mallory.status_code == 200
        assert mallory.json()["count"] == 0, "the session decides, not a token of somebody else's"


def test_a_logout_is_honoured_by_the_service(shop: Site, ada: Browser) -> None:
    copied = dict(ada.cookies)
    assert ada.post("/api/accounts/logout/").status_code == 204
    assert TOKEN not in ada.cookies
    assert ada.get("/api/orders/").status_code == 401
    # Whoever copied session and token is known until the token ends, and by the session alone no more.
    copied.pop(TOKEN)
    with shop.browser() as thief:
        for name, value in copied.items():
            thief.client.cookies.set(name, value, domain="127.0.0.1")
        assert thief.get("/api/orders/").status_code == 401


def test_while_the_monolith_is_away_the_service_goes_on_and_logs_nobody_out(shop: Site, ada: Browser) -> None:
    assert ada.get("/api/orders/").status_code == 200
    shop.monolith.stop()
    try:
        assert ada.get("/api/orders/").status_code == 200
        ada.forget(TOKEN)
        assert ada.get("/api/orders/").status_code == 503, "a 401 would send her to a login that is away"
    finally:
        shop.monolith.start()
    await_until(lambda: ada.get("/api/orders/").status_code == 200, what="she is known again")


def test_an_unsafe_request_to_the_service_needs_the_monoliths_csrf_cookie(shop: Site, ada: Browser) -> None:
    shop.proxy.publish(lambda table: with_writes(table, "orders", "new"))
    try:
        assert ada.post("/api/orders/", {}, **{"X-CSRFToken": "x" * 32}).status_code == 403
        assert side_of(ada.post("/api/orders/", {})) == "orders"
        assert ada.post("/api/orders/", {}).status_code == 400, "past CSRF; an empty order is refused for itself"
        # Browsers say where a form came from: the Host that the proxy keeps must be the one that is compared.
        assert ada.post("/api/orders/", {}, Origin=shop.url).status_code == 400
        assert ada.post("/api/orders/", {}, Origin="http://evil.example").status_code == 403
    finally:
        shop.proxy.publish(lambda table: with_writes(table, "orders", "old"))


def test_a_forged_host_or_scheme_does_not_get_to_either_side(shop: Site, ada: Browser) -> None:
    forged = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    answer = ada.client.get("/api/orders/?page=1", headers=forged)
    assert "evil" not in answer.text
    assert answer.status_code == 200
    assert ada.client.post("/api/orders/", headers={**forged, "Origin": "https://evil.example"}).status_code == 403


def test_a_customer_is_on_one_side_on_every_device_and_never_falls_back(shop: Site) -> None:
    with shop.browser() as phone, shop.browser() as desk:
        key = phone.sign_up()
        email = phone.get("/api/accounts/me/").json()["email"]
        assert desk.post("/api/accounts/login/", {"email": email, "password": "long enough"}).status_code == 200
        assert phone.cookies["sx_bucket"] == desk.cookies["sx_bucket"] == user_bucket_key(key)
        before = "monolith"
        try:
            for percent in (5, 35, 65, 95):
                shop.proxy.publish(lambda table, p=percent: with_reads(table, "orders", p))  # type: ignore[misc]
                expected = (
                    "orders" if side_for(shop.proxy.table, user_bucket_key(key), "orders") == "new" else "monolith"
                )
                found = {side_of(browser.get("/api/orders/")) for browser in (phone, desk)}
                assert found == {expected}
                assert (before, expected) != ("orders", "monolith")
                before = expected
        finally:
            shop.proxy.publish(lambda table: with_reads(table, "orders", 100))
