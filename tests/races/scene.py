"""What the race tests share: single writes by hand, waiting for a lock to be waited for, chunks of a few rows."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connections

from migration_tools.kernel.locks import LockClass, lock_keys
from migration_tools.transfer import copy
from tests.stage import STREAM, Stage
from tests.waiting import SECONDS as SECONDS
from tests.waiting import until as until

NEW_ORDER = """INSERT INTO orders_order (public_id, user_id, status, total, currency, client_reference,
    shipping_address, placed_at, updated_at)
    VALUES (gen_random_uuid(), 1, 'placed', 9.99, 'EUR', %s, '{}', now(), now()) RETURNING id"""
NEW_SALE = """INSERT INTO sales_order (public_id, customer_id, customer_name, state, total_cents, currency, reference,
    ship_to, ordered_at, modified_at)
    VALUES (gen_random_uuid(), 1, 'x', 'placed', 999, 'EUR', %s, '{}', now(), now()) RETURNING id"""
NEW_EVENT = """INSERT INTO strangle_outbox (stream, kind, event_id, event_type, event_version, aggregate_type,
    aggregate_id, payload, metadata, occurred_at)
    VALUES ('orders', 'e', gen_random_uuid(), 'race.happened', 1, 'race', %s, '{}', '{}', now())"""


def note(conn: psycopg.Connection[Any], order: int, text: str) -> None:
    """Change one order."""
    conn.execute("UPDATE orders_order SET note = %s WHERE id = %s", [text, order])


def remark(stage: Stage, order: int) -> str | None:
    """The service's copy of an order's note; 'absent' without one."""
    row = stage.orders.execute("SELECT remark FROM sales_order WHERE id = %s", [order]).fetchone()
    return row[0] if row else "absent"


def there_again(conn: psycopg.Connection[Any], *orders: int) -> None:
    """Insert these orders if they are not there."""
    statement = NEW_ORDER.replace("(public_id", "(id, public_id").replace("VALUES (", "VALUES (%s, ")
    for order in orders:
        conn.execute(statement.replace(" RETURNING", " ON CONFLICT (id) DO NOTHING RETURNING"), [order, "again"])


def remove(conn: psycopg.Connection[Any], order: int) -> None:
    """Delete an order with its lines, as one transaction."""
    with conn.transaction():
        conn.execute("UPDATE accounts_user SET last_order_id = NULL WHERE last_order_id = %s", [order])
        conn.execute("DELETE FROM orders_orderline WHERE order_id = %s", [order])
        conn.execute("DELETE FROM orders_order WHERE id = %s", [order])


def put_again(conn: psycopg.Connection[Any], order: int, *, new_id: int | None = None) -> None:
    """Delete an order and insert it again with other contents, under its old id or a new one, as one transaction."""
    with conn.transaction():
        kept = conn.execute(
            "SELECT public_id, user_id, total + 1, client_reference FROM orders_order WHERE id = %s", [order]
        ).fetchone()
        if kept is None:
            return
        remove(conn, order)
        conn.execute(
            """INSERT INTO orders_order (id, public_id, user_id, status, total, currency, note, client_reference,
                   shipping_address, placed_at, updated_at)
               VALUES (%s, %s, %s, 'paid', %s, 'EUR', 'again', %s, '[]', now(), now())""",
            [new_id or order, *kept],
        )
        conn.execute(
            """INSERT INTO orders_orderline (order_id, product_id, quantity, unit_price)
               SELECT %s, min(id), 7, 1.00 FROM catalog_product""",
            [new_id or order],
        )


def renumber(conn: psycopg.Connection[Any], order: int, new_id: int) -> None:
    """Change the key of an order that has lines; Django's references are deferred."""
    with conn.transaction():
        conn.execute("UPDATE orders_orderline SET order_id = %s WHERE order_id = %s", [new_id, order])
        conn.execute("UPDATE orders_order SET id = %s WHERE id = %s", [new_id, order])


def swap(conn: psycopg.Connection[Any], one: int, other: int) -> None:
    """Let two orders exchange their unique public ids."""
    with conn.transaction():
        ids = [
            conn.execute("SELECT public_id FROM orders_order WHERE id = %s", [key]).fetchone() for key in (one, other)
        ]
        first, second = (row[0] for row in ids if row is not None)
        for key, value in ((one, None), (other, first), (one, second)):
            conn.execute(
                "UPDATE orders_order SET public_id = COALESCE(%s::uuid, gen_random_uuid()) WHERE id = %s", [value, key]
            )


def swap_if_both(conn: psycopg.Connection[Any], one: int, other: int) -> None:
    """Swap, if both orders are there."""
    found = conn.execute("SELECT count(*) FROM orders_order WHERE id = ANY (%s)", [[one, other]]).fetchone()
    if found == (2,):
        swap(conn, one, other)


def waiters(conn: psycopg.Connection[Any], purpose: LockClass) -> int:
    """How many sessions of this database wait for a context's advisory lock."""
    first, second = lock_keys(purpose, STREAM)
    row = conn.execute(
        """SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND classid::bigint = %s
             AND objid::bigint = %s AND database = (SELECT oid FROM pg_database WHERE datname = current_database())""",
        [first, second & 0xFFFF_FFFF],
    ).fetchone()
    return int(row[0]) if row else 0


class Background:
    """Work in a thread, whose outcome is asked for later."""

    def __init__(self, work: Callable[[], Any]):
        self.result: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], Any]) -> None:
        try:
            self.result = work()
        except BaseException as error:
            self.error = error
        finally:
            connections.close_all()

    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    def outcome(self) -> Any:
        """Wait for the end; give the result or raise what it raised."""
        self._thread.join(SECONDS)
        assert not self._thread.is_alive(), "the work in the background hangs"
        if self.error is not None:
            raise self.error
        return self.result


@contextmanager
def beside(work: Callable[[threading.Event], Any], number: int = 1) -> Iterator[None]:
    """Work in so many threads for the block; each looks at the event, and what one of them raises is raised here."""
    stop = threading.Event()
    working = [Background(lambda: work(stop)) for _ in range(number)]
    try:
        yield
    finally:
        stop.set()
        for each in working:
            each.outcome()


@pytest.fixture
def few_rows_a_chunk(monkeypatch: pytest.MonkeyPatch, settings: Any) -> int:
    """Let the copy advance by 25 rows a chunk."""
    monkeypatch.setattr(copy, "FIRST_ROWS", 25)
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "CHUNK_ROWS_MAXIMUM": 25}
    return 25


@contextmanager
def open_transaction(stage: Stage, side: str = "shop", user: str = "shop_app") -> Iterator[psycopg.Connection[Any]]:
    """A session in a transaction that the test ends itself; what is left open is rolled back."""
    with stage.pair.connect(side, user) as conn:
        conn.autocommit = False
        yield conn
        conn.rollback()
