"""Customers who note what was acknowledged to them, key by key: equal sides are not enough, both could have lost it.

Each writer owns the orders that it makes, so it knows what each must be: the value of its last acknowledged commit, or
gone for ever after an acknowledged delete. A commit whose answer was lost may have happened or not; both are right,
until a later answer tells. Lines that all writers increment show an update that was lost or made twice.
"""

import random
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.chaos.world import World

Value = tuple[str, int] | None  # (note, quantity of its line); None is "no such order"

REFUSED = {"40S01"}
AGAIN = {"40P01", "40001", "55P03"}
LOST_SECONDS = 30.0
SHARED_LINES = 12


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """The statements of a customer on one side."""

    side: str
    user: str
    insert: tuple[str, str]
    update: tuple[str, str]
    delete: tuple[str, str]
    bump: str
    sweep: str
    read: str


SHOP = Dialect(
    side="shop",
    user="shop_app",
    insert=(
        """INSERT INTO orders_order (public_id, user_id, status, total, currency, note, client_reference,
               shipping_address, placed_at, updated_at)
           VALUES (%(key)s, %(user)s, 'placed', 12.34, 'EUR', %(note)s, 'ledger', '{"a":1}', now(),
                   clock_timestamp())""",
        """INSERT INTO orders_orderline (order_id, product_id, quantity, unit_price)
           SELECT id, 1 + (%(user)s %% 10), %(quantity)s, 2.50 FROM orders_order WHERE public_id = %(key)s""",
    ),
    update=(
        """UPDATE orders_order SET note = %(note)s, status = 'paid', updated_at = clock_timestamp()
           WHERE public_id = %(key)s""",
        """UPDATE orders_orderline SET quantity = %(quantity)s
           WHERE order_id = (SELECT id FROM orders_order WHERE public_id = %(key)s)""",
    ),
    delete=(
        "DELETE FROM orders_orderline WHERE order_id = (SELECT id FROM orders_order WHERE public_id = %(key)s)",
        "DELETE FROM orders_order WHERE public_id = %(key)s",
    ),
    bump="UPDATE orders_orderline SET quantity = quantity + 1 WHERE id = %(line)s",
    sweep="UPDATE orders_order SET discount = %(discount)s WHERE id BETWEEN %(low)s AND %(low)s + 20",
    read="""SELECT o.public_id, o.note, sum(l.quantity), count(*) FROM orders_order o
            LEFT JOIN orders_orderline l ON l.order_id = o.id WHERE o.client_reference = 'ledger'
            GROUP BY o.id, o.public_id, o.note""",
)
ORDERS = Dialect(
    side="orders",
    user="orders_app",
    insert=(
        """INSERT INTO sales_order (public_id, customer_id, customer_name, state, total_cents, currency, remark,
               reference, ship_to, ordered_at, modified_at)
           VALUES (%(key)s, %(user)s, 'x', 'placed', 1234, 'EUR', %(note)s, 'ledger', '{"a": 1}', now(),
                   clock_timestamp())""",
        """INSERT INTO sales_orderitem (order_public_id, product_id, qty, unit_cents)
           VALUES (%(key)s, 1 + (%(user)s %% 10), %(quantity)s, 250)""",
    ),
    update=(
        """UPDATE sales_order SET remark = %(note)s, state = 'paid', modified_at = clock_timestamp()
           WHERE public_id = %(key)s""",
        "UPDATE sales_orderitem SET qty = %(quantity)s WHERE order_public_id = %(key)s",
    ),
    delete=(
        "DELETE FROM sales_orderitem WHERE order_public_id = %(key)s",
        "DELETE FROM sales_order WHERE public_id = %(key)s",
    ),
    bump="UPDATE sales_orderitem SET qty = qty + 1 WHERE id = %(line)s",
    sweep="UPDATE sales_order SET discount_cents = %(discount)s * 100 WHERE id BETWEEN %(low)s AND %(low)s + 20",
    read="""SELECT o.public_id, o.remark, sum(l.qty), count(*) FROM sales_order o
            LEFT JOIN sales_orderitem l ON l.order_public_id = o.public_id WHERE o.reference = 'ledger'
            GROUP BY o.id, o.public_id, o.remark""",
)
COUNTED = {
    "shop": "SELECT id, quantity FROM orders_orderline WHERE id <= %s",
    "orders": "SELECT id, qty FROM sales_orderitem WHERE id <= %s",
}


@dataclass
class Ledger:
    """What writers were told, and what they found wrong on the way."""

    world: World
    possible: dict[uuid.UUID, set[Value]] = field(default_factory=dict)
    bumps: Counter[int] = field(default_factory=Counter)
    unsure_bumps: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    acknowledged: Counter[str] = field(default_factory=Counter)
    opening: dict[int, int] = field(default_factory=dict)
    before: set[uuid.UUID] = field(default_factory=set)

    def open(self) -> None:
        """Note what is there before the first write."""
        side = "orders" if self.world.owners() == ["target"] else "shop"
        with self.world.connect(side) as conn:
            self.opening = dict(conn.execute(COUNTED[side], [SHARED_LINES]).fetchall())
            dialect = ORDERS if side == "orders" else SHOP
            self.before = {row[0] for row in conn.execute(dialect.read)}

    def compare(self, side: str) -> list[str]:
        """What a side does not hold as it was acknowledged, in sentences."""
        dialect = SHOP if side == "shop" else ORDERS
        found: dict[uuid.UUID, list[Value]] = {}
        with self.world.connect(side) as conn:
            for key, note, quantity, _ in conn.execute(dialect.read):
                found.setdefault(key, []).append((note, int(quantity or 0)))
            counted = dict(conn.execute(COUNTED[side], [SHARED_LINES]).fetchall())
        faults = []
        for key, possible in self.possible.items():
            rows = found.get(key, [])
            if len(rows) > 1:
                faults.append(f"{side}: {key} is there {len(rows)} times")
            elif (rows[0] if rows else None) not in possible:
                what = "lost" if not rows else "resurrected" if possible == {None} else "wrong"
                faults.append(f"{side}: {key} is {what}: {rows} instead of one of {sorted(map(str, possible))}")
        strangers = found.keys() - self.possible.keys() - self.before
        faults += [f"{side}: {key} was never acknowledged" for key in strangers]
        for line, start in self.opening.items():
            low = start + self.bumps[line]
            if not low <= counted.get(line, -1) <= low + self.unsure_bumps[line]:
                faults.append(
                    f"{side}: line {line} counts {counted.get(line)}, acknowledged {low} (+{self.unsure_bumps[line]})"
                )
        return faults


class Writer(threading.Thread):
    """One customer, writing wherever the fence lets it until told to stop."""

    def __init__(self, ledger: Ledger, seed: int, stop: threading.Event, pause: float = 0.006):
        super().__init__(name=f"writer {seed}", daemon=True)
        self.ledger = ledger
        self.choose = random.Random(seed)
        self.stop_asked = stop
        self.pause = pause
        self.own: list[uuid.UUID] = []
        self.dialect = SHOP
        self.conn: psycopg.Connection[Any] | None = None
        self.number = 0
        self.seed = seed

    def run(self) -> None:
        """Write."""
        try:
            while not self.stop_asked.wait(self.pause * 2 * self.choose.random()):
                if self.ledger.world.calm.is_set():
                    self.stop_asked.wait(0.1)
                self._one()
        except BaseException as error:
            self.ledger.faults.append(f"{self.name} ended: {type(error).__name__}: {error}")
        finally:
            if self.conn is not None:
                self.conn.close()

    def _one(self) -> None:
        kind = self.choose.random()
        self.number += 1
        if kind < 0.35 or not self.own:
            key = uuid.uuid4()
            self.own.append(key)
            self.ledger.possible[key] = {None}
            self._write(key, "insert", (f"{self.seed}.{self.number}", self.number))
        elif kind < 0.65:
            self._write(self.choose.choice(self.own[-40:]), "update", (f"{self.seed}.{self.number}", self.number))
        elif kind < 0.78:
            self._write(self.own.pop(self.choose.randrange(len(self.own))), "delete", None)
        elif kind < 0.92:
            line = self.choose.randrange(SHARED_LINES) + 1
            self._bump(line)
        else:
            values = {"discount": self.choose.randrange(100), "low": self.choose.randrange(20, 250)}
            self._try(lambda conn: conn.execute(self.dialect.sweep, values).rowcount)

    def _write(self, key: uuid.UUID, what: str, value: Value) -> None:
        values = {"key": key, "user": 1 + key.int % 20}
        if value is not None:
            values |= {"note": value[0], "quantity": value[1]}

        def work(conn: psycopg.Connection[Any]) -> list[int]:
            return [conn.execute(each, values).rowcount for each in getattr(self.dialect, what)]

        possible = self.ledger.possible[key]
        outcome, rows = self._try(work)
        if outcome == "unsure":
            possible.add(value)
        elif outcome == "done":
            held = rows == [1, 1]
            if what == "insert" or held:
                self.ledger.possible[key] = {value}
            elif None in possible:
                self.ledger.possible[key] = {None}
            else:
                self.ledger.faults.append(
                    f"{self.dialect.side} did not know {key} when it was to {what} it ({rows} rows)"
                )
            self.ledger.acknowledged[what] += 1

    def _bump(self, line: int) -> None:
        outcome, rows = self._try(lambda conn: conn.execute(self.dialect.bump, {"line": line}).rowcount)
        if outcome == "done":
            self.ledger.bumps[line] += rows
            self.ledger.acknowledged["bump"] += 1
            if rows != 1:
                self.ledger.faults.append(f"{self.dialect.side} did not know line {line}")
        elif outcome == "unsure":
            self.ledger.unsure_bumps[line] += 1

    def _try(self, work: Any) -> tuple[str, Any]:
        """Commit the work where writes are taken: 'done', 'refused' or, if the answer was lost, 'unsure'."""
        deadline = time.monotonic() + LOST_SECONDS
        while not self.stop_asked.is_set() or time.monotonic() < deadline:
            committing = False
            try:
                conn = self._connection()
                conn.execute("BEGIN")
                rows = work(conn)
                committing = True
                conn.execute("COMMIT")
                return "done", rows
            except psycopg.Error as error:
                state = error.sqlstate or ""
                if self.conn is not None and not self.conn.broken and state:
                    self.conn.execute("ROLLBACK")
                    committing = False
                elif self.conn is not None:
                    self.conn.close()
                    self.conn = None
                if committing:
                    return "unsure", None
                if state in REFUSED or state == "42P01":
                    self._other_side()
                elif state[:2] not in {"08", "57", ""} and state not in AGAIN:
                    raise
                if self.stop_asked.wait(0.01):
                    return "refused", None
        return "refused", None

    def _connection(self) -> psycopg.Connection[Any]:
        if self.conn is None:
            self.conn = self.ledger.world.connect(self.dialect.side, self.dialect.user)
        return self.conn

    def _other_side(self) -> None:
        if self.conn is not None:
            self.conn.close()
        self.conn = None
        self.dialect = ORDERS if self.dialect is SHOP else SHOP


class Renamer(threading.Thread):
    """Renames customers in the monolith, whoever owns the orders: their names are copied into orders."""

    def __init__(self, world: World, seed: int, stop: threading.Event):
        super().__init__(name="renamer", daemon=True)
        self.world = world
        self.choose = random.Random(seed)
        self.stop_asked = stop

    def run(self) -> None:
        """Rename now and then; a database that is away is tried again."""
        while not self.stop_asked.wait(0.05 + 0.1 * self.choose.random()):
            try:
                with self.world.connect("shop", "shop_app") as conn:
                    while not self.stop_asked.wait(0.6 * self.choose.random()):
                        if self.world.calm.is_set():
                            continue
                        conn.execute(
                            "UPDATE accounts_user SET last_name = %s WHERE id = %s",
                            [str(self.choose.random()), self.choose.randrange(1, 21)],
                        )
            except psycopg.Error:
                continue


class OwnerWatch(threading.Thread):
    """Looks all the time whether both sides believe that they may write at one moment."""

    def __init__(self, world: World, stop: threading.Event):
        super().__init__(name="owner watch", daemon=True)
        self.world = world
        self.stop_asked = stop
        self.faults: list[str] = []
        self.looks = 0

    def run(self) -> None:
        """Look: source, target, source again; epochs show that the source did not change in between."""
        query = "SELECT side = owner, epoch FROM strangle_ownership WHERE context = 'orders'"
        while not self.stop_asked.wait(0.02):
            try:
                with self.world.connect("shop") as shop, self.world.connect("orders") as orders:
                    while not self.stop_asked.wait(0.005):
                        first, theirs, second = (c.execute(query).fetchone() for c in (shop, orders, shop))
                        self.looks += 1
                        if first and theirs and first == second and first[0] and theirs[0]:
                            self.faults.append(f"two owners: source {first}, target {theirs}")
            except psycopg.Error:
                continue
