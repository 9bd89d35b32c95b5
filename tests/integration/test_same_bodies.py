"""Through the proxy a new customer gets the same bodies before and after every move, there and on the way back."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from migration_tools.routing.publishing import current
from migration_tools.routing.table import RoutingTable
from tests.integration.site_rig import Browser, Site, serving, side_of
from tests.integration.test_phases import ROAD, Road, road

__all__ = ["road"]

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(240)]

#: What no two customers share: keys, names of accounts, moments.
PERSONAL = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8}@example\.com|\d{4}-\d\d-\d\dT[^\"]+")
ORDER = {
    "lines": [{"product": 2, "quantity": 3, "gift_message": "für Zoë"}, {"product": 1, "quantity": 1}],
    "shipping_address": {"street": "1 Way", "city": "Łódź", "country": "PL", "floor": None},
    "client_reference": "the same for everybody",
    "note": "ring twice",
}


def shopping(browser: Browser) -> dict[str, tuple[int, Any]]:
    """Sign up, look at the products, buy, look at the order: every answer's status and body."""
    form = {"email": f"{os.urandom(4).hex()}@example.com", "password": "long enough"}
    signed_up = browser.post("/api/accounts/signup/", {**form, "first_name": "Zoë", "last_name": "O'Brien"})
    answers = {"sign up": signed_up, "who": browser.get("/api/accounts/me/")}
    answers |= {"products": browser.get("/api/products/"), "product": browser.get("/api/products/2/")}
    answers["purchase"] = browser.post("/api/orders/", ORDER)
    order = f"/api/orders/{answers['purchase'].json()['id']}/"
    answers |= {"order": browser.get(order), "orders": browser.get("/api/orders/")}
    answers |= {"paid": browser.post(f"{order}pay/"), "twice": browser.post(f"{order}pay/")}
    answers |= {"no order": browser.get("/api/orders/00000000-0000-0000-0000-000000000000/")}
    answers["nothing"] = browser.post("/api/orders/", {"lines": []})
    return {name: (each.status_code, told(each.text)) for name, each in answers.items()}


def told(text: str) -> Any:
    """The body, its keys and moments made alike."""
    return json.loads(PERSONAL.sub("…", text), object_hook=_unnumbered)


def _unnumbered(found: dict[str, Any]) -> dict[str, Any]:
    """A customer's number is another for each; a product's is the same for all."""
    customer = "email" in found or ("name" in found and "price" not in found)
    return found | {"id": "…"} if customer else found


def test_bodies_are_the_same_before_and_after_every_move_and_on_the_way_back(road: Road, tmp_path: Path) -> None:
    with serving(road.stage, tmp_path / "log", RoutingTable(version=1)) as site:
        before, sides = look(site)
        assert [status for status, _ in before.values()] == [201, 200, 200, 200, 201, 200, 200, 200, 200, 404, 400]
        assert sides == {"monolith"}
        served = []
        moves = [*ROAD[:5], "strangle_rollback", "strangle_verify", "strangle_cutover", ROAD[5]]
        for move in moves:
            road.go(move)
            site.proxy.publish(lambda _: current())
            after, sides = look(site)
            assert after == before, move
            served.append(*sides)
        # Who has just bought reads from the owner, also while all reads are on the service.
        assert served == [*["monolith"] * 4, "orders", *["monolith"] * 2, *["orders"] * 2]


def look(site: Site) -> tuple[dict[str, tuple[int, Any]], set[str]]:
    """What a new customer gets, and which side answers the read of an order."""
    with site.browser() as browser:
        found = shopping(browser)
        return found, {side_of(browser.get("/api/orders/"))}
