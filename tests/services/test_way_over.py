"""The stock is carried into documents once it is the service's for good; before that documents are refused."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError

from migration_tools.state.journal import phase_of
from migration_tools.testing.postgres import EmbeddedPostgres
from tests.conftest import Cluster
from tests.document_server import mongodb_url
from tests.services import rig
from tests.services.depots import database_url, killed_while, looking, movements, seen_shelf, variables
from tests.services.rig import RunningService
from tests.services.road import ROAD, road

pytest_plugins = ["tests.services.rig"]

FILLED = """
    INSERT INTO depot_stock (product_id, on_hand, reserved) SELECT n, n * 10, CASE n WHEN 3 THEN 4 ELSE 0 END
    FROM generate_series(1, 600) n;
    INSERT INTO depot_movement (product_id, quantity, reason, moved_at)
    SELECT n, n * 10 + 3, 'received', now() FROM generate_series(1, 600) n;
    INSERT INTO depot_movement (product_id, order_number, quantity, reason, moved_at)
    SELECT n, 5000 + mod(n, 7), q, 'ordered', now() FROM generate_series(1, 600) n, (VALUES (-1), (-2)) AS lines(q);
    INSERT INTO depot_reservation (id, public_id, customer_id, reference, state, order_public_id, made_at)
    OVERRIDING SYSTEM VALUE VALUES (1, gen_random_uuid(), 7, 'mine', 'held', NULL, now()),
        (2, gen_random_uuid(), 7, 'over', 'released', NULL, now()),
        (3, gen_random_uuid(), 8, 'order x', 'held', '00000000-0000-4000-8000-000000000003', now());
    INSERT INTO depot_reservedline (reservation_id, product_id, quantity) VALUES (1, 3, 3), (2, 3, 9), (3, 3, 1)
"""
SUMS = {
    "products": 600, "on_hand": 10 * 600 * 601 // 2, "reserved": 4, "movements": 1800,
    "moved": 10 * 600 * 601 // 2, "reservations": 3, "held": 4,
}  # fmt: skip


AGAIN = """
from collections import Counter
from django.db import transaction
from extracted_services.inventory import stock
from extracted_services.inventory.models import Reason
keeper = stock.keeper()
with transaction.atomic():
    print(keeper.settle(5003, {3: 3}, Reason.ORDERED))
print(keeper.reserve(7, "mine", Counter({3: 3})).state)
print(keeper.receive(3, 1).on_hand)
"""


@pytest.fixture
def url() -> Iterator[str]:
    """An empty database of a MongoDB."""
    with mongodb_url() as server:
        yield database_url(server, f"over_{os.urandom(4).hex()}")


@pytest.fixture
def service(cluster: EmbeddedPostgres) -> Iterator[RunningService]:
    """The service with its stock in rows, which are its own for good."""
    with rig.served(cluster, "inventory") as made:
        for statement in FILLED.split(";"):
            made.rows(statement)
        made.rows(rig.OWNED, "inventory")
        yield made


def over(service: RunningService, url: str, *args: str) -> Any:
    """Run the way over; what it said."""
    done = service.manage("inventory_to_documents", "--format", "json", *args, **variables(url))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_rows_are_carried_over_once_and_served_out_of_documents(service: RunningService, url: str) -> None:
    assert over(service, url, "--dry-run") == {"carried": False, "sums": SUMS, "dry_run": True}
    refused = service.manage("check", "--database", "default", **variables(url))
    assert refused.returncode != 0
    assert "the stock is in PostgreSQL's rows" in refused.stderr
    assert "run inventory_to_documents" in refused.stderr
    with service.browser(None) as anybody:
        assert anybody.get("/api/stock/600/").json()["on_hand"] == 6000
    with looking(url) as database:
        assert database.stock.count_documents({}) == 0
        assert over(service, url) == {"carried": True, "sums": SUMS, "dry_run": False}
        assert seen_shelf(database, 3) == (30, 4)
        assert sum(quantity for _, product, quantity, _ in movements(database) if product == 3) == -3
        assert service.manage("check", "--database", "default", **variables(url)).returncode == 0
        # Whoever was not stopped finds no rows to write.
        with service.browser(7, staff=True) as clerk:
            assert clerk.post("/api/stock/3/deliveries/", json={"quantity": 4}).status_code == 500
        done = service.manage("shell", "-v0", "-c", AGAIN, **variables(url))
        assert done.stdout.split() == ["False", "held", "31"], done.stderr
        assert over(service, url) == {"carried": False, "sums": None, "dry_run": False}
        assert seen_shelf(database, 3) == (31, 4)


def test_a_copy_that_was_cut_off_is_begun_anew(service: RunningService, url: str) -> None:
    with looking(url) as database:
        for point in ("inventory.copied_movements", "inventory.carried"):
            killed_while(service, url, point, "inventory_to_documents")
            assert service.rows("SELECT count(*) FROM depot_stock") == [(600,)]
        service.rows("UPDATE depot_stock SET on_hand = on_hand + 1 WHERE product_id = 5")
        assert over(service, url)["sums"]["on_hand"] == SUMS["on_hand"] + 1
        assert seen_shelf(database, 5) == (51, 0)


def test_documents_that_somebody_else_put_there_are_left_alone(service: RunningService, url: str) -> None:
    with looking(url) as database:
        database.stock.insert_one({"_id": 1, "on_hand": 1})
        done = service.manage("inventory_to_documents", **variables(url))
        assert done.returncode == 1
        assert "documents in ['stock'] that this command did not put there" in done.stderr
        assert database.stock.count_documents({}) == 1
    assert service.rows("SELECT count(*) FROM depot_stock") == [(600,)]


@pytest.mark.thorough
def test_documents_are_refused_until_the_stock_is_decommissioned(
    cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any, url: str
) -> None:
    """In every phase of the way: by the check, by the way over, and by a process that was started before."""
    with django_db_blocker.unblock(), road(cluster, templates, "inventory") as way:
        env = {**rig.environment("inventory", str(way.service.info.dbname), "owner"), **variables(url)}
        asked = "from extracted_services.inventory.documents import guard; print(guard.on_its_way())"

        def said(*args: str) -> tuple[int, str]:
            done = rig.manage("inventory", *args, env=env)
            return done.returncode, done.stderr

        assert said("check", "--database", "default")[0] == 0
        for move in ROAD[:5]:
            way.go(move)
            code, words = said("check", "--database", "default")
            assert (code, "inventory_service.E001" in words) == (1, True), (move, words)
            assert "strangle_decommission inventory" in words
            code, words = said("inventory_to_documents")
            assert (code, "strangle_decommission inventory" in words) == (1, True), (move, words)
            assert rig.manage("inventory", "shell", "-v0", "-c", asked, env=env).stdout.strip(), move
        way.go(ROAD[5])
        assert rig.manage("inventory", "shell", "-v0", "-c", asked, env=env).stdout.strip() == ""
        code, words = said("check", "--database", "default")
        assert (code, "inventory_service.E002" in words) == (1, True), words
        with looking(url) as database:
            assert said("inventory_to_documents") == (0, "")
            assert said("check", "--database", "default")[0] == 0
            assert database.stock.count_documents({}) > 0
            # The way back would read rows of the day of the copy; it is refused before anything has changed.
            with pytest.raises(CommandError, match="table 'depot_stock' is not in the target database"):
                way.run("strangle_rollback")
            assert phase_of("inventory") == "decommission"
            back = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename = 'inventory_stock'"
            assert way.shop.execute(back).fetchone() == (0,)
            assert said("check", "--database", "default")[0] == 0
