"""Pages and carts of the monolith ask for products through the seam: here, then the service, by the phase."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client, override_settings

from legacy_monolith.testing import Shopper
from migration_tools.seams.extracted import ExtractedGuard
from tests.conftest import Cluster
from tests.services.rig import serving
from tests.services.road import ROAD, Road, road

pytest_plugins = ["tests.services.rig"]

LAMPS = """INSERT INTO catalog_product (sku, name, price, currency, category_id, attributes, active, version)
    SELECT 'lamp' || n, 'Lamp ' || n, 2.50, 'EUR', (SELECT min(id) FROM catalog_category), '{}', n <> 15, 1
    FROM generate_series(1, 40) n"""


@pytest.fixture
def way(cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any) -> Iterator[Road]:
    """The catalogue before its first phase, and its service, which answers from its own database."""
    with django_db_blocker.unblock(), road(cluster, templates, "catalog") as made:
        made.shop.execute(LAMPS)
        with (
            serving("catalog", str(made.service.info.dbname)) as url,
            override_settings(CATALOG_URL=f"{url}/api/products/"),
        ):
            yield made


def shown(page: str = "") -> str:
    """The product list, for a visitor."""
    answer = Client().get(f"/{page}")
    assert answer.status_code == 200, answer.content
    return str(answer.content.decode())


def shop_through(lamp: int, hidden: int, price: str) -> None:
    """List, cart and checkout, as a customer meets them; what is not for sale is in none of them."""
    assert "Page 1 of 3" in shown()
    assert [shown(f"?page={absent}").count("Page 3 of 3") for absent in ("99", "0", "-1", "9" * 30)] == [1] * 4
    assert [shown(f"?page={odd}").count("Page 1 of 3") for odd in ("", "x", "1.5", "9" * 5_000)] == [1] * 4
    assert "Lamp 15" not in "".join(shown(f"?page={number}") for number in (1, 2, 3))
    shopper = Shopper().sign_up()
    token = shopper.client.cookies["csrftoken"].value

    def put(product: int) -> int:
        form = {"action": "add", "product": product, "csrfmiddlewaretoken": token}
        return int(shopper.client.post("/cart/", form).status_code)

    assert (put(lamp), put(lamp), put(hidden), put(10**30)) == (302, 302, 404, 404)
    checkout = shopper.client.get("/checkout/").content.decode()
    assert f">{2 * float(price):.2f}<" in checkout


@pytest.mark.thorough
def test_pages_and_carts_go_on_through_cutover_and_decommission_of_the_catalogue(way: Road, tmp_path: Path) -> None:
    numbers = dict(way.shop.execute("SELECT sku, id FROM catalog_product").fetchall())
    these = (numbers["lamp14"], numbers["lamp15"])
    with override_settings(CATALOG_URL="http://127.0.0.1:1/"):
        shop_through(*these, "2.50")  # nobody but the rows here is asked
        way.go(*ROAD[:3], "strangle_switch_reads --percent 0")
        shop_through(*these, "2.50")
    way.go("strangle_switch_reads --percent 100", "strangle_cutover")
    way.service.execute("UPDATE shelf_product SET price_cents = 725, title = 'Lantern' WHERE code = 'lamp14'")
    guard = ExtractedGuard()
    guard.install()
    try:
        assert "Lantern" in shown("?page=2")
        shop_through(*these, "7.25")
        with override_settings(CATALOG_URL="http://127.0.0.1:1/"):
            away = Client().get("/")
            assert (away.status_code, away["Retry-After"]) == (503, "1")
        way.go(f"strangle_decommission --directory {tmp_path}")
        assert "Lantern" in shown("?page=2")
        shop_through(*these, "7.25")
        way.go("strangle_decommission --remove")
        assert "Lantern" in shown("?page=2")
        shop_through(*these, "7.25")
    finally:
        guard.uninstall()
