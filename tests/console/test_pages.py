"""Every page of the console in Chromium: loads without the network, reads well, and is photographed."""

from typing import Any

import pytest

from migration_tools.state.journal import phase_of
from migration_tools.state.phase import ORDER
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
    "letters": "/strangle/console/orders/letters/",
    "sagas": "/strangle/console/orders/sagas/",
    "burn-down": "/strangle/console/orders/decommission/",
    "journal": "/strangle/console/orders/journal/",
    "ask": "/strangle/console/orders/ask/forward/",
}


@pytest.fixture(scope="module")
def moved(shop: Scene) -> Scene:
    """In switch_reads at 25 %, with planted differences found by the last verification, traffic, a parked event."""
    road = ["strangle_dual_write", "strangle_backfill", "strangle_verify", "strangle_switch_reads --percent 25"]
    for line in road[ORDER.index(phase_of("orders")) :]:
        shop.command(*line.split())
    plant(shop)
    stick_sagas(shop)
    with pytest.raises(Exception, match="differ"):
        shop.command("strangle_verify", "--runs", "1")
    shop.observed("the phase", lambda seen: seen["status"]["phase"] == "switch_reads" and seen["gates"])
    return shop


def address(path: str) -> str:
    from migration_tools.state.models import Verification

    last = Verification.objects.filter(context="orders").order_by("-id").first()
    return path.format(last=last.pk if last else 0)


@pytest.mark.parametrize("look", [("laptop", "light"), ("phone", "dark")], ids="-".join)
def test_every_page_is_drawn_at_every_size_and_scheme(
    moved: Scene, visit: Any, photograph: Any, look: tuple[str, str]
) -> None:
    page = visit(size=look[0], scheme=look[1])
    for name, path in PAGES.items():
        page.goto(address(path))
        photograph(page, f"{name}-{'-'.join(look)}")
        assert page.locator("h1").count() == 1, name
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{name} is {wide} pixels wider than the screen"


def test_without_the_operator_s_process_the_pages_say_so(moved: Scene, visit: Any, photograph: Any) -> None:
    moved.operator.terminate()
    moved.operator.wait(30)
    page = visit(size="laptop", scheme="dark")
    awaited("the page says so", lambda: _says(page, "No operator’s process is running"))  # noqa: RUF001
    photograph(page, "board-without-operator-laptop-dark")


def _says(page: Any, text: str) -> bool:
    page.goto("/strangle/console/")
    return text in page.inner_text("main")
