"""Every page of the console in Chromium: loads without the network, reads well, and is photographed."""

from dataclasses import replace
from typing import Any

import psycopg
import pytest

from migration_tools.playbook import seconds
from migration_tools.routing.publishing import current_version, report_proxy
from migration_tools.state.journal import phase_of
from migration_tools.state.phase import ORDER
from playbooks.orders import Orders
from tests.console.conftest import SIZES
from tests.console.legible import unreadable
from tests.console.scene import Scene, awaited, plant, stick_sagas

pytestmark = pytest.mark.thorough

PAGES = {
    "board": "/strangle/console/",
    "overview": "/strangle/console/orders/",
    "verifications": "/strangle/console/orders/verifications/",
    "verification": "/strangle/console/orders/verifications/{last}/",
    "difference": "/strangle/console/orders/verifications/{last}/4/",
    "traffic": "/strangle/console/orders/traffic/",
    "events": "/strangle/console/orders/events/",
    "chain": "/strangle/console/orders/events/?correlation=chain-of-the-test",
    "letters": "/strangle/console/orders/letters/",
    "sagas": "/strangle/console/orders/sagas/",
    "burn-down": "/strangle/console/orders/decommission/",
    "journal": "/strangle/console/orders/journal/",
    "ask": "/strangle/console/orders/ask/forward/",
}


def walk(shop: Scene) -> None:
    """On to switch_reads, from wherever other tests have left the context."""
    road = ["strangle_dual_write", "strangle_backfill", "strangle_verify", "strangle_switch_reads"]
    for command in road[ORDER.index(phase_of("orders")) :]:
        shop.command(command)


def test_a_hand_over_is_shown_with_its_pause_what_was_refused_and_what_would_be_carried_back(
    shop: Scene, visit: Any, photograph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Orders, "gates", replace(Orders.gates, soak=seconds(0), quiet=seconds(0.2)))
    walk(shop)
    shop.command("strangle_switch_reads", "--percent", "100")
    shop.command("strangle_cutover")
    with shop.pair.connect("shop", "shop_app") as late, pytest.raises(psycopg.Error) as refused:
        late.execute("UPDATE orders_order SET note = 'too late' WHERE id = 1")
    assert refused.value.sqlstate == "40S01"
    shop.observed("the way back", lambda seen: "carry back" in seen["way_back"].get("say", ""))
    page = visit()
    awaited("the refused write is seen", lambda: "1 write refused" in _told(page, "h-fence"))
    assert " ms pause, to the service" in _told(page, "h-cut")
    assert "possible now, 0 rows to carry back" in _told(page, "h-back")
    photograph(page, "overview-cutover-laptop-light")
    shop.command("strangle_rollback")
    shop.observed("the phase", lambda seen: seen["status"]["phase"] == "switch_reads")
    assert " ms pause, back to the monolith" in _told(page, "h-cut")


def _told(page: Any, card: str) -> str:
    page.goto(PAGES["overview"])
    return " ".join(page.inner_text(f"section[aria-labelledby={card}]").split())


@pytest.fixture(scope="module")
def moved(shop: Scene) -> Scene:
    """In switch_reads at 25 %, with planted differences found by the last verification, traffic, a parked event."""
    walk(shop)
    shop.command("strangle_switch_reads", "--percent", "25")
    plant(shop)
    stick_sagas(shop)
    with pytest.raises(Exception, match="differ"):
        shop.command("strangle_verify", "--runs", "1")
    shop.observed("the phase", lambda seen: seen["status"]["phase"] == "switch_reads" and seen["gates"])
    return shop


def test_the_explorer_finds_what_one_request_caused_and_shows_shapes_alone(moved: Scene, visit: Any) -> None:
    page = visit()
    page.goto(PAGES["events"])
    page.fill("#correlation", "chain-of-the-test")
    page.keyboard.press("Enter")
    page.wait_for_url("**correlation=chain-of-the-test")
    page.get_by_text("Asked for").wait_for()
    links = [" ".join(each.inner_text().split()) for each in page.locator(".chain li").all()]
    assert [link.split()[1] for link in links] == ["order.paid", "order.shipped"], links
    page.locator("summary").first.click()
    assert "public_id" in page.inner_text(".chain")
    assert "01890a5d" not in page.content(), "values of payloads are hidden"


def test_a_proxy_is_live_while_it_is_heard_of_and_silent_afterwards(moved: Scene, visit: Any) -> None:
    page = visit()

    def proxies() -> str:
        page.goto(PAGES["traffic"])
        return " ".join(page.inner_text("section[aria-labelledby=h-proxies]").split())

    report_proxy("edge-1", {"applied_version": current_version()})
    assert "edge-1 live" in proxies()
    awaited("it fell silent", lambda: "edge-1 silent" in proxies())


def address(path: str) -> str:
    from migration_tools.state.models import Verification

    last = Verification.objects.filter(context="orders").order_by("-id").first()
    return path.format(last=last.pk if last else 0)


@pytest.mark.parametrize("size", SIZES)
def test_every_page_is_drawn_at_every_size_and_scheme(moved: Scene, visit: Any, photograph: Any, size: str) -> None:
    page = visit(size=size)
    for name, path in PAGES.items():
        page.goto(address(path))
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            photograph(page, f"{name}-{size}-{scheme}")
            assert unreadable(page) == [], f"{name} {scheme}"
        assert page.locator("h1").count() == 1, name
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{name} is {wide} pixels wider than the screen"
        assert "zoe@example.com" not in page.content(), name
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
        sideways = "[...document.querySelectorAll('.scroll, .tabs')].some(e => e.scrollWidth > e.clientWidth)"
        assert not page.evaluate(sideways), f"{name} has something that one must scroll sideways to"
    page.goto(address(PAGES["difference"]))
    for side in page.locator(".sides td").all():
        box = side.evaluate(
            "cell => { const r = (cell.firstElementChild || cell).getBoundingClientRect(); return [r.left, r.right] }"
        )
        assert 0 < box[0] < box[1] <= SIZES[size][0], "both sides of a row are on the screen"


def test_without_the_operator_s_process_the_pages_say_so(moved: Scene, visit: Any, photograph: Any) -> None:
    moved.operator.terminate()
    moved.operator.wait(30)
    page = visit(size="laptop", scheme="dark")
    awaited("the page says so", lambda: _says(page, "No operator’s process is running"))  # noqa: RUF001
    photograph(page, "board-without-operator-laptop-dark")


def _says(page: Any, text: str) -> bool:
    page.goto("/strangle/console/")
    return text in page.inner_text("main")
