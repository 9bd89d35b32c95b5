"""A stage for engine tests: both databases installed, relay and consumer as threads, an independent comparison."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.db import connections

from migration_tools.capture.installation import install
from migration_tools.capture.projector import RelationProjector
from migration_tools.messaging.batch import Batch
from migration_tools.messaging.consumer import Consumer
from migration_tools.messaging.lag import consumers, unnumbered
from migration_tools.messaging.relay import Relay, tick
from migration_tools.messaging.stream import note_receipt, read_batch
from migration_tools.playbook import Playbook
from migration_tools.playbook.compiled import Compiled, compile_playbook
from migration_tools.playbook.registry import get
from migration_tools.stores.postgres import connect
from migration_tools.transfer.completion import complete_references
from migration_tools.transfer.copy import copy_relation, whole_relations
from migration_tools.transfer.stops import Ends
from migration_tools.transfer.sync import TableWriter
from tests import both_sides
from tests.both_sides import ORDERS_SOURCE, ORDERS_TARGET
from tests.conftest import Pair

__all__ = ["ORDERS_SOURCE", "ORDERS_TARGET"]

STREAM = "orders"


class DirectFeed:
    """A feed without HTTP, for tests that stage interleavings."""

    def __init__(self, alias: str, origin: str, stream: str = STREAM):
        self.alias = alias
        self.origin_name = origin
        self.stream = stream
        self.conn: Any = None

    def close(self) -> None:
        if self.conn is not None:
            self.conn.close()

    def fetch(self, *, after: int, limit: int, wait_seconds: float, mark: str = "") -> Batch:
        if self.conn is None or self.conn.closed:
            self.conn = connect(self.alias, "test feed")
        cursor = self.conn.cursor()
        note_receipt(cursor, self.stream, "test", after)
        batch = read_batch(cursor, self.stream, origin=self.origin_name, after=after, limit=limit, mark=mark)
        if batch.first == batch.last and wait_seconds:
            threading.Event().wait(0.01)
            batch = read_batch(cursor, self.stream, origin=self.origin_name, after=after, limit=limit)
        return batch


class Stage:
    """The pair of databases with capture installed on both."""

    stream = STREAM

    def __init__(self, pair: Pair):
        self.pair = pair
        self.shop = pair.connect("shop")
        self.orders = pair.connect("orders")
        with connect("default", "test") as source, connect("orders", "test") as target:
            self.compiled: Compiled = compile_playbook(self.playbook(), source, target)
            install(source, self.compiled.source, wait=lambda _: None)
            install(target, self.compiled.target, wait=lambda _: None)

    def playbook(self) -> type[Playbook]:
        """What is carried."""
        return get(self.stream)

    def close(self) -> None:
        self.shop.close()
        self.orders.close()

    @contextmanager
    def ends(self, *, reverse: bool = False) -> Iterator[Ends]:
        sender, receiver = ("orders", "default") if reverse else ("default", "orders")
        with connect(sender, "test") as a, connect(sender, "test") as b, connect(receiver, "test") as c:
            yield Ends(stream=self.stream, sender=a, reader=b, receiver=c)

    def tick(self, *, reverse: bool = False) -> int:
        with connect("orders" if reverse else "default", "test") as conn:
            return tick(conn, self.stream, RelationProjector()).head

    def consumer(self, *, reverse: bool = False) -> Consumer:
        sender, using = ("orders", "default") if reverse else ("default", "orders")
        return Consumer(self.stream, DirectFeed(sender, sender, self.stream), TableWriter(), using=using)

    def consume(self, *, reverse: bool = False) -> int:
        """Apply everything numbered so far."""
        consumer = self.consumer(reverse=reverse)
        try:
            at, before = consumer.step(0), -1
            while at != before:
                at, before = consumer.step(0), at
        finally:
            consumer.feed.close()
        return at

    def settle(self) -> None:
        """Number and apply all that is committed."""
        self.tick()
        self.consume()

    def backfill(self) -> int:
        """Copy every projection to its end."""
        rows = 0
        with self.ends() as ends:
            for relation in whole_relations(ends.sender, self.stream):
                for chunk in copy_relation(ends, relation, "test"):
                    rows += chunk.rows
            complete_references(ends)
        return rows

    @contextmanager
    def running(self, *, reverse: bool = False) -> Iterator[None]:
        """Relay and consumer as threads for the block."""
        stop = threading.Event()
        sender = "orders" if reverse else "default"
        relay = Relay(self.stream, RelationProjector(), alias=sender)
        consumer = self.consumer(reverse=reverse)
        with ExitStack() as stack:
            stack.callback(consumer.feed.close)
            for work in (relay.run, consumer.run):
                stack.callback(_thread(work, stop).join)
            stack.callback(stop.set)
            yield

    def differences(self) -> list[tuple[str, Any, Any]]:
        """Rows that are not the same on both sides, by independent SQL."""
        return both_sides.differences(self.shop, self.orders)


def _thread(work: Callable[[threading.Event], None], stop: threading.Event) -> threading.Thread:
    def run() -> None:
        try:
            work(stop)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def behind(conn: Any) -> int:
    """What was written on this side, and did not arrive on the other yet."""
    return unnumbered(conn, STREAM).rows + max((each.events for each in consumers(conn, STREAM)), default=0)


def write_at_random(
    pair: Pair, seed: int, stop: threading.Event, user: str = "shop_app", patience: int | None = None
) -> int:
    """Insert, update, delete and re-key orders and lines by plain SQL until told to stop; returns how many
    statements.

    With `patience` it waits a moment before a write while more than so many records are under way, so that a hand-over
    finds a small tail on a busy machine too.
    """
    import random

    choose = random.Random(seed)
    done = 0
    with pair.connect("shop", user) as conn:
        while not stop.is_set():
            done += 1
            stop.wait(0.004)
            if patience is not None:
                for _ in range(25):
                    if behind(conn) <= patience or stop.wait(0.01):
                        break
            _one_write(conn, choose, seed * 1_000_000 + done)
    return done


def _one_write(conn: Any, choose: Any, number: int) -> None:
    kind = choose.random()
    pick = conn.execute("SELECT id FROM orders_order ORDER BY id OFFSET %s LIMIT 1", [choose.randrange(400)]).fetchone()
    if kind < 0.3 or pick is None:
        with conn.transaction():
            made = conn.execute(
                """INSERT INTO orders_order (public_id, user_id, status, total, discount, currency, note,
                client_reference,
                       shipping_address, placed_at, updated_at)
                   SELECT gen_random_uuid(), (SELECT min(id) + %s FROM accounts_user), 'placed', %s, NULL, 'EUR', %s,
                   '', '{"a":1}',
                       now(), clock_timestamp() RETURNING id""",
                [
                    choose.randrange(20),
                    choose.randrange(10_000) / 100,
                    choose.choice([None, "", "é", str(number)]),
                ],
            ).fetchone()
            conn.execute(
                """INSERT INTO orders_orderline (order_id, product_id, quantity, unit_price)
                   SELECT %s, id, 1, 2.50 FROM catalog_product ORDER BY id LIMIT %s""",
                [made[0], choose.randrange(1, 4)],
            )
    elif kind < 0.6:
        conn.execute(
            "UPDATE orders_order SET status = 'paid', note = %s, updated_at = clock_timestamp() WHERE id = %s",
            [str(number), pick[0]],
        )
    elif kind < 0.75:
        conn.execute("UPDATE orders_orderline SET quantity = quantity + 1 WHERE order_id = %s", [pick[0]])
    elif kind < 0.85:
        with conn.transaction():
            conn.execute("UPDATE accounts_user SET last_order_id = NULL WHERE last_order_id = %s", [pick[0]])
            for table in ("orders_orderline", "payments_payment", "inventory_movement"):
                conn.execute(f"DELETE FROM {table} WHERE order_id = %s", [pick[0]])
            conn.execute("DELETE FROM orders_order WHERE id = %s", [pick[0]])
    elif kind < 0.92:
        conn.execute(
            "UPDATE accounts_user SET last_name = %s WHERE id = (SELECT user_id FROM orders_order WHERE id = %s)",
            [str(number), pick[0]],
        )
    else:
        conn.execute(
            "UPDATE orders_order SET discount = %s WHERE id BETWEEN %s AND %s",
            [choose.randrange(100) / 10, pick[0], pick[0] + 30],
        )
