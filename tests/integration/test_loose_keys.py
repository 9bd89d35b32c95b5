"""Loose keys: the constraint goes and comes back under short locks, deletions follow by events, orphans are named."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from django.db import OperationalError, connection, models
from django.test.utils import isolate_apps

from migration_tools.errors import SeamError
from migration_tools.seams import loose_key
from migration_tools.seams.loose_key import LooseForeignKey, OnGone, StillReferred, follow_deletions, orphans
from migration_tools.seams.loosening import LoosenForeignKey
from migration_tools.seams.owners import by_api, in_database, token_of
from migration_tools.stores.postgres import connect
from tests.conftest import SMALL_SHOP, Pair

REFERENCES = """
SELECT count(*), bool_and(convalidated) FROM pg_constraint
WHERE contype = 'f' AND conrelid = 'payments_payment'::regclass
"""


@pytest.fixture
def shop(pair: Pair) -> Pair:
    """Orders with payments; Django connects as the owner of the tables."""
    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
        conn.execute(
            "INSERT INTO payments_payment (order_id, amount, status, created_at, updated_at) "
            "SELECT id, total, 'captured', now(), now() FROM orders_order"
        )
    return pair


def paying(on_gone: OnGone) -> type[models.Model]:
    """The payments as a model with a loose key."""
    with isolate_apps("legacy_monolith.payments"):

        class Payment(models.Model):
            order = LooseForeignKey(
                "orders.Order", on_gone=on_gone, null=on_gone is OnGone.SET_NULL, db_column="order_id"
            )

            class Meta:
                app_label = "payments"
                db_table = "payments_payment"

        return Payment


def migrate(*, back: bool = False) -> None:
    operation = LoosenForeignKey("payments_payment", "order_id", to="orders_order")
    with connection.schema_editor(atomic=False) as editor:
        (operation.database_backwards if back else operation.database_forwards)("payments", editor, None, None)


def references(shop: Pair) -> tuple[int, bool | None]:
    with shop.connect("shop") as conn:
        row: Any = conn.execute(REFERENCES).fetchone()
        return row[0], row[1]


def delete_orders(shop: Pair, *keys: int) -> None:
    with shop.connect("shop") as conn:
        conn.execute("DELETE FROM orders_orderline WHERE order_id = ANY (%s)", [list(keys)])
        conn.execute("DELETE FROM orders_order WHERE id = ANY (%s)", [list(keys)])


def test_the_constraint_goes_and_comes_back_validated(shop: Pair) -> None:
    assert references(shop) == (1, True)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        delete_orders(shop, 1)
    migrate()
    assert references(shop) == (0, None)
    migrate()  # again, nothing is left to do
    migrate(back=True)
    assert references(shop) == (1, True)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        delete_orders(shop, 1)


def test_a_table_that_is_held_is_waited_for_two_seconds_and_not_more(shop: Pair) -> None:
    with shop.connect("shop") as held, held.transaction():
        held.execute("LOCK payments_payment IN ACCESS SHARE MODE")
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate()
    assert references(shop) == (1, True)
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("0",)
    migrate()
    assert references(shop) == (0, None)


def test_a_way_back_with_orphans_holds_for_new_rows_and_orphans_name_the_old(
    shop: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate()
    delete_orders(shop, 5, 7, 300)
    with pytest.raises(Exception, match="violates foreign key constraint"):
        migrate(back=True)
    assert references(shop) == (1, False)
    with shop.connect("shop") as conn, pytest.raises(psycopg.errors.ForeignKeyViolation):
        conn.execute("UPDATE payments_payment SET order_id = 999999 WHERE order_id = 8")
    field: Any = paying(OnGone.RESTRICT)._meta.get_field("order")
    monkeypatch.setattr(loose_key, "BATCH", 100)
    assert list(orphans(field, existing_in(shop))) == [5, 7, 300], "in the first batch and the last"


@pytest.mark.thorough
def test_an_owner_is_asked_by_its_table_or_its_api(shop: Pair) -> None:
    with connect("default", "test") as conn:
        for ask in (in_database(conn, "orders.Order"), in_database(conn, "a.B", "public.orders_order", "id")):
            assert sorted(ask([1, 2, 301, 999])) == [1, 2]
        with pytest.raises(SeamError, match=r"a\.B is not installed here; name its owner's table"):
            in_database(conn, "a.B")
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ids = parse_qs(urlsplit(self.path).query)["ids"][0].split(",")
            asked.append(f"{self.headers['Authorization']} {len(ids)}")
            there = [{"id": int(each)} for each in ids if int(each) % 7]
            paged = {"results": there[:20], "next": f"{self.path}&page=2"} if self.path.startswith("/pages/") else None
            body = json.dumps(paged or ({"results": there} if len(asked) % 2 else there)).encode()
            self.send_response(503 if self.path.startswith("/none/") else 200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        migrate()
        lost = list(orphans(paying(OnGone.CASCADE)._meta.get_field("order"), by_api(f"{url}/api/", token="t")))  # type: ignore[arg-type]
        assert lost == list(range(7, 301, 7))
        assert asked == ["Bearer t 100"] * 3, "a hundred at a time"
        with pytest.raises(SeamError, match="did not answer which rows there are: HTTPStatusError"):
            list(by_api(f"{url}/none/")([1]))
        with pytest.raises(SeamError, match="answers 30 ids in pages, so rows would seem to be gone that are not"):
            list(by_api(f"{url}/pages/")(list(range(1, 31))))
        server.shutdown()
    with pytest.raises(SeamError, match="the environment variable 'NOT_SET_HERE' is empty"):
        token_of("NOT_SET_HERE")


def existing_in(shop: Pair) -> Any:
    def existing(keys: list[int]) -> list[int]:
        with shop.connect("shop") as conn:
            found = conn.execute("SELECT id FROM orders_order WHERE id = ANY (%s)", [keys]).fetchall()
        return [key for (key,) in found]

    return existing


@pytest.mark.parametrize("on_gone", OnGone)
def test_a_deletion_is_followed_as_the_key_says_and_again_changes_nothing(shop: Pair, on_gone: OnGone) -> None:
    migrate()
    with shop.connect("shop") as conn:
        conn.execute("ALTER TABLE payments_payment ALTER order_id DROP NOT NULL")
    delete_orders(shop, 5, 7)
    model = paying(on_gone)
    if on_gone is OnGone.RESTRICT:
        with pytest.raises(StillReferred, match=r"2 rows of payments\.Payment\.order refer to orders\.Order"):
            follow_deletions("orders.Order", [5, 7], among=[model])
        assert counted(shop, "order_id IN (5, 7)") == 2
        return
    assert follow_deletions("orders.Order", [5, 7], among=[model]) == {"payments.Payment.order": 2}
    assert follow_deletions("orders.Order", [5, 7], among=[model]) == {"payments.Payment.order": 0}
    assert counted(shop, "order_id IN (5, 7)") == 0
    assert counted(shop, "true") == (298 if on_gone is OnGone.CASCADE else 300)


def counted(shop: Pair, condition: str) -> int:
    with shop.connect("shop") as conn:
        row: Any = conn.execute(f"SELECT count(*) FROM payments_payment WHERE {condition}").fetchone()
        return int(row[0])


def test_two_deliveries_at_once_delete_each_row_once(shop: Pair) -> None:
    migrate()
    model, done, begin = paying(OnGone.CASCADE), list[int](), threading.Barrier(2)

    def deliver() -> None:
        begin.wait(20)
        done.append(follow_deletions("orders.Order", range(1, 200), among=[model])["payments.Payment.order"])
        connection.close()

    threads = [threading.Thread(target=deliver) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done) == 199
    assert counted(shop, "order_id < 200") == 0


def test_a_key_that_cannot_be_followed_is_a_check_error() -> None:
    with isolate_apps("legacy_monolith.payments"):

        class Wrong(models.Model):
            order = LooseForeignKey("Order", on_gone="set_null")

            class Meta:
                app_label = "payments"

        found = {each.id for each in Wrong._meta.get_field("order").check()}
    assert found == {"strangle.E125", "strangle.E126"}
    name, path, args, options = LooseForeignKey("a.B", on_gone=OnGone.CASCADE).deconstruct()
    assert (name, path, args) == (None, "migration_tools.seams.loose_key.LooseForeignKey", [])
    assert LooseForeignKey(*args, **options).to == "a.B"
