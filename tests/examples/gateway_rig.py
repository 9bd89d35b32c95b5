"""The gateway for its tests: the shop's database, services that answer from it, and a monolith that publishes."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import psycopg
import pytest

from tests import identity_rig
from tests.conftest import ROOT, SMALL_SHOP, Cluster, recreate
from tests.examples.served import Served, served
from tests.integration.site_rig import Gunicorn
from tests.leaf import Leaf, serving

FEED_TOKEN = "tests-feed-token-gateway"

ORACLE = """SELECT l.product_id, p.name, sum(l.quantity)::int
            FROM accounts_user u JOIN orders_order o ON o.user_id = u.id
            JOIN orders_orderline l ON l.order_id = o.id JOIN catalog_product p ON p.id = l.product_id
            WHERE u.id = %s GROUP BY 1, 2 ORDER BY 1"""


@pytest.fixture(scope="module")
def shop(cluster: Cluster, templates: tuple[str, str]) -> Iterator["psycopg.Connection[Any]"]:
    """The monolith's database with a small shop: the oracle, and where the services' answers come from."""
    recreate(cluster, "shop_of_gateway", owner="shop_owner", template=templates[0])
    with psycopg.connect(cluster.dsn("shop_of_gateway"), autocommit=True) as conn:
        conn.execute(SMALL_SHOP)
        yield conn


def customer_of(headers: Mapping[str, str]) -> int:
    """Who asks, by the token that the gateway handed on."""
    cookies = dict(each.strip().split("=", 1) for each in headers["Cookie"].split(";"))
    payload = cookies["sx_identity"].split(".")[1]
    return int(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["uid"])


@pytest.fixture(scope="module")
def elsewhere(shop: "psycopg.Connection[Any]") -> Iterator[dict[str, Leaf]]:
    """Users, orders, catalogue and recommendations, each answering from its own tables alone."""

    def query(statement: str, *args: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(shop.info.dsn, password=shop.info.password, autocommit=True) as conn:
            return conn.execute(statement.encode(), args).fetchall()

    def lines(order: int) -> list[dict[str, int]]:
        found = query("SELECT product_id FROM orders_orderline WHERE order_id = %s", order)
        return [{"product": product} for (product,) in found]

    def users(path: str, _: Any, headers: Any) -> tuple[int, Any]:
        who = customer_of(headers)
        found = query("SELECT id, first_name || ' ' || last_name FROM accounts_user WHERE id = %s", who)
        return (200, {"id": found[0][0], "name": found[0][1]}) if found else (404, {"detail": "nobody"})

    def orders(path: str, _: Any, headers: Any) -> tuple[int, Any]:
        who = customer_of(headers)
        if path.endswith("/products/"):
            sums = query("SELECT l.product_id, sum(l.quantity)::int FROM orders_order o JOIN orders_orderline l "
                         "ON l.order_id = o.id WHERE o.user_id = %s GROUP BY 1 ORDER BY 1", who)  # fmt: skip
            return 200, [{"product": product, "name": "", "quantity": quantity} for product, quantity in sums]
        mine = query("SELECT public_id::text, status, total::text, currency, id FROM orders_order WHERE user_id = %s "
                     "ORDER BY placed_at DESC, id DESC LIMIT 20", who)  # fmt: skip
        results = [
            {"id": public, "status": status, "total": total, "currency": currency,
             "lines": lines(id)}
            for public, status, total, currency, id in mine
        ]  # fmt: skip
        return 200, {"count": len(mine), "results": results}

    def catalog(_: str, asked: Mapping[str, str], headers: Any) -> tuple[int, Any]:
        ids = [int(each) for each in asked["ids"].split(",")]
        found = query("SELECT id, name, price::text FROM catalog_product WHERE id = ANY(%s)", ids)
        return 200, {"results": [{"id": number, "name": name, "price": price} for number, name, price in found]}

    def recommendations(path: str, _: Any, headers: Any) -> tuple[int, Any]:
        return 200, [{"product": 1}]

    with serving(users=users, orders=orders, catalog=catalog, recommendations=recommendations) as leaves:
        yield leaves


@pytest.fixture(scope="module")
def monolith(cluster: Cluster, shop: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """The monolith on the shop's database, serving its feed, with its relay running."""
    env = {
        "SHOP_DB_NAME": "shop_of_gateway", "SHOP_DB_USER": "shop_app", "FEED_TOKEN_GATEWAY": FEED_TOKEN,
        "ORDERS_DB_NAME": "", "DJANGO_SETTINGS_MODULE": "legacy_monolith.settings",
    }  # fmt: skip
    log = tmp_path_factory.mktemp("monolith") / "log"
    server = Gunicorn("legacy_monolith.wsgi", env, log)
    server.start()
    with log.open("a") as output:
        relay = subprocess.Popen(
            [sys.executable, "manage.py", "strangle_relay", "orders", "users", "catalog"], cwd=ROOT,
            env={**os.environ, **env, "SHOP_DB_USER": "shop_owner"}, stdout=output, stderr=output,
        )  # fmt: skip
    yield server
    relay.terminate()
    relay.wait(30)
    server.stop()


@pytest.fixture(scope="module")
def gateway(
    cluster: Cluster, elsewhere: dict[str, Leaf], monolith: Gunicorn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The gateway before these services."""
    urls = {f"{name.upper()}_URL": leaf.url for name, leaf in elsewhere.items()}
    # Time is what test_composition.py is about; here a busy machine must not be taken for a failing service.
    urls |= {"GATEWAY_DEADLINE_SECONDS": "20", "MONOLITH_ADDRESS": str(monolith.address)}
    log = tmp_path_factory.mktemp("gateway") / "log"
    with served(cluster, "gateway", log, FEED_TOKEN_GATEWAY=FEED_TOKEN, **urls) as made:
        yield made


@pytest.fixture
def away(elsewhere: dict[str, Leaf]) -> Iterator[Any]:
    """Let services be away until the test's end."""
    gone: list[Leaf] = []

    def leave(*names: str) -> None:
        for name in names:
            elsewhere[name].stop()
            gone.append(elsewhere[name])

    yield leave
    for leaf in gone:
        leaf.start()


def client(gateway: Served, uid: int) -> httpx2.Client:
    token = identity_rig.token(uid, "Ada", audience=("gateway", "orders"))
    cookies = {"sx_identity": token, "sessionid": identity_rig.SESSION}
    return httpx2.Client(base_url=gateway.url, cookies=cookies, timeout=30, verify=False)


def get(gateway: Served, uid: int, path: str) -> httpx2.Response:
    with client(gateway, uid) as one:
        return one.get(path)
