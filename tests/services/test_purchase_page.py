"""The shop's pages in a browser, when orders, stock and payments have left: a purchase is pending, then confirmed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from migration_tools.testing.postgres import EmbeddedPostgres
from tests import identity_rig
from tests.conftest import SMALL_SHOP, recreate
from tests.console.conftest import chromium
from tests.integration.site_rig import MONOLITH, Gunicorn
from tests.races.scene import until
from tests.services.shop import PRODUCT, SECONDS, STOCK, Shop, opened

__all__ = ["chromium"]

pytestmark = pytest.mark.thorough

LEFT = """INSERT INTO strangle_ownership (context, side, owner, epoch)
    SELECT name, 'source', 'target', 3 FROM unnest(ARRAY['orders', 'inventory', 'payments']) name"""


@contextmanager
def monolith(cluster: EmbeddedPostgres, template: str, log: Path) -> Iterator[str]:
    """The shop under gunicorn, the three contexts having left it."""
    name = "shop_of_pages"
    recreate(cluster, name, owner="shop_owner", template=template)  # type: ignore[arg-type]
    with psycopg.connect(cluster.dsn(name), autocommit=True) as conn:
        conn.execute(SMALL_SHOP)
        conn.execute(LEFT)
    environment = {
        "DJANGO_SETTINGS_MODULE": "legacy_monolith.settings",
        "SHOP_DB_PORT": str(cluster.port),
        "SHOP_DB_PASSWORD": cluster.password,
        "SHOP_DB_NAME": name,
        "SHOP_SECRET_KEY": identity_rig.SECRET,
        "SHOP_CHECKOUTS": "1",
    }
    server = Gunicorn(MONOLITH, environment, log)
    server.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()
        with psycopg.connect(cluster.dsn(), autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def shop(cluster: EmbeddedPostgres) -> Iterator[Shop]:
    """The three services, with the article that the page sells."""
    with opened(cluster) as made:
        made.begin("orchestrated")
        made.conns["orders"].execute(PRODUCT, [1, "sku1", 125])
        made.conns["inventory"].execute(STOCK, [1, 10])
        yield made


@pytest.fixture
def page(shop: Shop, cluster: EmbeddedPostgres, templates: tuple[str, str], chromium: Any, tmp_path: Path) -> Any:
    """A browser at the monolith; what it asks of orders goes to the service that owns them, as by the proxy."""
    with monolith(cluster, templates[0], tmp_path / "monolith.log") as url:
        context = chromium.new_context(base_url=url)
        context.set_default_timeout(SECONDS * 1000)

        def forward(route: Any) -> None:
            headers = {name: value for name, value in route.request.all_headers().items() if name[0] != ":"}
            there = route.request.url.replace(url, f"http://127.0.0.1:{shop.wires['orders'].port}")
            route.fulfill(response=route.fetch(url=there, headers=headers | {"host": url.removeprefix("http://")}))

        context.route(f"{url}/api/orders/**", forward)
        yield context.new_page()
        context.close()


def purchase(page: Any) -> None:
    """Sign up, and buy the first article."""
    page.goto("/signup/")
    for name, value in (("first_name", "Ada"), ("last_name", "L"), ("email", "ada@e.com"), ("password", "long enough")):
        page.fill(f"[name={name}]", value)
    page.click("main form button")
    page.wait_for_url("**/")
    buy_it(page)


def buy_it(page: Any) -> None:
    page.goto("/")
    page.click("li.card:has(input[name=product][value='1']) button")
    page.goto("/checkout/")
    for name in ("name", "street", "city"):
        page.fill(f"#purchase [name={name}]", "x")
    page.click("#purchase button")
    page.wait_for_url("**/orders/")


def cells(page: Any, table: str) -> list[str]:
    """What a table says: products and status of each row."""
    return [
        " | ".join(row.locator("td").all_inner_texts()[1:3]).replace("\u00d7", "x")
        for row in page.locator(f"#{table} tr").all()
    ]


def test_a_customer_sees_a_purchase_pending_while_payments_are_away_and_then_confirmed(page: Any, shop: Shop) -> None:
    shop.kill("payments")
    purchase(page)
    page.wait_for_selector("#purchases:visible")
    assert (cells(page, "checkouts"), cells(page, "orders")) == (["1 x A thing | pending"], [])
    shop.begin("orchestrated")
    page.wait_for_selector("#orders tr")
    assert (cells(page, "checkouts"), cells(page, "orders")) == ([], ["1 x A thing | confirmed, paid"])
    assert not page.locator("#purchases").is_visible()
    page.click("#orders >> text=ship")
    page.wait_for_selector("#orders >> text=confirmed, shipped")

    shop.kill("payments")
    buy_it(page)
    page.click("#checkouts >> text=withdraw")
    page.wait_for_selector("#checkouts >> text=withdrawn")
    shop.begin("orchestrated")
    page.wait_for_selector("#checkouts >> text=cancelled")
    assert len(cells(page, "orders")) == 1
    until(lambda: shop.shelf(1) == (9, 0), "what was withdrawn is free again", SECONDS)
