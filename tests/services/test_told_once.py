"""What others keep of customers and products is told once, by whoever owns them, while they leave and come back."""

import threading
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx2
import psycopg
import pytest

from legacy_monolith.accounts.models import User
from legacy_monolith.catalog.models import Product
from legacy_monolith.testing import Shopper, make_product
from migration_tools.messaging.models import Outbox
from tests import identity_rig
from tests.conftest import Cluster
from tests.races.scene import beside, until
from tests.services import rig
from tests.services.road import ROAD, road

pytest_plugins = ["tests.services.rig"]

TOLD = b"""
    SELECT payload FROM (
        SELECT event_id, event_type, aggregate_id, payload FROM strangle_stream WHERE event_id IS NOT NULL
        UNION SELECT event_id, event_type, aggregate_id, payload FROM strangle_outbox) e
    WHERE event_type IN ('user.registered', 'user.renamed', 'product.changed') AND aggregate_id = ANY (%s)"""
VERSIONS = {
    "users": (b"SELECT id, version FROM accounts_user", b"SELECT id, version FROM people_person"),
    "catalog": (b"SELECT id, version FROM catalog_product", b"SELECT id, version FROM shelf_product"),
}


@pytest.mark.django_db
def test_a_save_that_changes_nothing_told_tells_nothing_and_a_stale_one_keeps_the_version() -> None:
    user, product = User.objects.create_user("a@example.com", first_name="A", last_name="B"), make_product("1.10")
    stale = User.objects.get(pk=user.pk)
    user.last_name = "C"
    user.save()
    user.save()
    user.save(update_fields=["last_login"])
    stale.save(update_fields=["is_staff"])
    stale.save(update_fields=["first_name"])
    product.price = "2.5"
    product.save(update_fields=["price", "attributes"])
    product.save()
    assert User.objects.get().version == Product.objects.get().version == 2
    User.objects.all().delete()
    found = list(Outbox.objects.order_by("seq").values_list("event_type", "payload"))
    changed = {"product": product.pk, "sku": product.sku, "name": product.name, "currency": "EUR", "active": True}
    assert found == [
        ("user.registered", {"user_id": user.pk, "name": "A B", "version": 1}),
        ("product.changed", {**changed, "price_cents": 110, "version": 1}),
        ("user.renamed", {"user_id": user.pk, "name": "A C", "version": 2}),
        ("product.changed", {**changed, "price_cents": 250, "version": 2}),
        ("user.deleted", {"user_id": user.pk, "version": 3}),
    ]


@dataclass(kw_only=True)
class Subject:
    """A customer or a product, somebody who changes it, and how often that was acknowledged."""

    context: str
    key: int
    shopper: Shopper
    acknowledged: int

    def change(self, name: str, service: httpx2.Client) -> None:
        """Change it at whichever side takes it; both may say for a moment that they are not the owner."""
        until(lambda: self._taken(name, service), f"somebody takes {name}", 20)
        self.acknowledged += 1

    def _taken(self, name: str, service: httpx2.Client) -> bool:
        users = self.context == "users"
        path = "/api/accounts/me/" if users else f"/api/products/{self.key}/"
        body = {"first_name" if users else "name": name}
        here = self.shopper.call("PATCH", path, body)
        if here.status_code == 200:
            return True
        shown = identity_rig.cookies(self.shopper.id, "A", audience=(self.context,), staff=not users)
        cookies = "; ".join(f"{each}={value}" for each, value in {**shown, "csrftoken": rig.CSRF}.items())
        there = service.patch(path, json=body, headers={"Cookie": cookies, "X-CSRFToken": rig.CSRF})
        assert (here.status_code, there.status_code) in ((503, 200), (503, 503)), (here.content, there.text)
        return there.status_code == 200


def subjects(context: str) -> list[Subject]:
    """Customers who have just signed up, or products from before there were any events."""
    shoppers = [Shopper().sign_up() for _ in range(3)]
    if context == "users":
        return [Subject(context=context, key=each.id, shopper=each, acknowledged=1) for each in shoppers]
    User.objects.filter(pk__in=[each.id for each in shoppers]).update(is_staff=True)
    return [Subject(context=context, key=key, shopper=each, acknowledged=0) for key, each in enumerate(shoppers, 1)]


@pytest.mark.thorough
@pytest.mark.parametrize("context", ["users", "catalog"])
def test_each_change_has_one_version_and_one_event_while_rows_leave_come_back_and_leave(
    cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any, context: str
) -> None:
    with (
        django_db_blocker.unblock(),
        road(cluster, templates, context) as way,
        rig.serving(context, str(way.service.info.dbname)) as url,
    ):
        changed = subjects(context)

        def change(stop: threading.Event) -> None:
            with httpx2.Client(base_url=url, timeout=30) as service:
                for number in count():
                    for each in changed:
                        each.change(f"N{number}", service)
                    if stop.is_set():
                        return

        def more() -> None:
            wanted = sum(each.acknowledged for each in changed) + 9
            until(lambda: sum(each.acknowledged for each in changed) >= wanted, "nine more changes", 30)

        with beside(change):
            way.go(*ROAD[:5])
            more()
            way.run("strangle_rollback")
            more()
            way.go("strangle_verify", "strangle_verify", "strangle_cutover")
            more()
        here, there = (told(conn, [each.key for each in changed]) for conn in (way.shop, way.service))
        assert here
        assert there
        wanted = [(each.key, version) for each in changed for version in range(1, each.acknowledged + 1)]
        assert sorted(here + there) == sorted(wanted)
        of_the_shop, of_the_service = VERSIONS[context]
        last = {each.key: each.acknowledged for each in changed}
        assert {key: version for key, version in way.service.execute(of_the_service) if key in last} == last
        until(
            lambda: last.items() <= dict(way.shop.execute(of_the_shop)).items(), "the monolith's copy has caught up", 20
        )


def told(conn: psycopg.Connection[Any], keys: list[int]) -> list[tuple[int, int]]:
    """The versions that one side published."""
    payloads = [payload for (payload,) in conn.execute(TOLD, [[str(key) for key in keys]])]
    return [(payload.get("user_id", payload.get("product")), payload["version"]) for payload in payloads]
