"""Two writers that go around HTTP and the ORM: SQL straight into the monolith's database."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from demo.customer import STREETS, TEXTS
from demo.ledger import Ledger
from demo.tally import Tally

FENCED = "40S01"
AGAIN = ("40001", "40P01", "55P03")
"""Serialization failure, deadlock, lock not available: the statement did nothing and is tried again."""

TOUCHED_MODULUS, TOUCHED_REMAINDER = 7, 3
"""Seeded orders with ``id % 7 = 3`` belong to these writers; nobody else in the demo touches them."""

POOL = 4000
WAIT_FENCED_SECONDS = 0.25


class LegacyWriter(threading.Thread):
    """Repeats one kind of job until retired; what the fence refuses is counted and tried again."""

    def __init__(
        self, *, name: str, dsn: str, interval: float, choices: random.Random, ledger: Ledger, tally: Tally
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.retired = threading.Event()
        self.pool: list[int] = []
        self.choices = choices
        self._dsn = dsn
        self._interval = interval
        self._ledger = ledger
        self._tally = tally

    def run(self) -> None:
        while not self.retired.is_set():
            try:
                with psycopg.connect(self._dsn, autocommit=True) as connection:
                    self.pool = self.pool or self.choose_pool(connection)
                    while self.pool and not self.retired.wait(self._interval * self.choices.uniform(0.5, 1.5)):
                        self.job(connection)
                    if not self.pool:
                        return
            except psycopg.Error as error:
                self._tally.failure(
                    who=self.name,
                    request="a statement straight at the database",
                    expected="done, or refused by the fence",
                    status=None,
                    detail=f"{error.sqlstate}: {error}",
                )
                self.retired.wait(1.0)

    def choose_pool(self, connection: psycopg.Connection[Any]) -> list[int]:
        raise NotImplementedError

    def job(self, connection: psycopg.Connection[Any]) -> None:
        raise NotImplementedError

    def attempt(
        self,
        connection: psycopg.Connection[Any],
        statement: str,
        parameters: Sequence[Any],
        operation: str,
        **facts: Any,
    ) -> bool:
        """Run one ledgered statement, waiting while the fence stands; False when retired before that."""
        while not self.retired.is_set():
            number = self._ledger.intent(operation, **facts)
            try:
                connection.execute(statement, parameters)
            except psycopg.Error as error:
                if error.sqlstate != FENCED and error.sqlstate not in AGAIN:
                    raise
                self._ledger.refuse(number, f"{error.sqlstate}")
                self._tally.event("refused by the fence" if error.sqlstate == FENCED else "tried again")
                self.retired.wait(WAIT_FENCED_SECONDS)
                continue
            self._ledger.acknowledge(number)
            self._tally.event(f"{self.name}: {operation}")
            return True
        return False


class BulkUpdater(LegacyWriter):
    """Rewrites the notes of a batch of old orders in one statement, as ``bulk_update`` does."""

    def choose_pool(self, connection: psycopg.Connection[Any]) -> list[int]:
        return _touched(connection, "orders_order", "id", POOL)

    def job(self, connection: psycopg.Connection[Any]) -> None:
        chosen = sorted(self.choices.sample(self.pool, min(25, len(self.pool))))
        values = {key: self.choices.choice((*TEXTS, f"bulk {self.choices.randint(0, 9999)}")) for key in chosen}
        arms = " ".join("WHEN id = %s THEN %s::text" for _ in values)
        parameters = [part for item in values.items() for part in item]
        self.attempt(
            connection,
            f"UPDATE orders_order SET note = CASE {arms} END WHERE id = ANY(%s)",  # noqa: S608
            [*parameters, list(values)],
            "edit",
            table="orders_order",
            column="note",
            values=values,
        )


class RawWriter(LegacyWriter):
    """Adjusts discounts and addresses, rewrites gift messages, and deletes a line now and then."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._lines: list[int] = []

    def choose_pool(self, connection: psycopg.Connection[Any]) -> list[int]:
        self._lines = _touched(connection, "orders_orderline", "order_id", POOL)
        return _touched(connection, "orders_order", "id", POOL)

    def job(self, connection: psycopg.Connection[Any]) -> None:
        kind = self.choices.choices(("discount", "address", "message", "delete"), weights=(4, 3, 3, 2))[0]
        if kind == "discount":
            amount = self.choices.choice((None, "0.00", "0.05", "1.10", "2.50"))
            decimal = None if amount is None else Decimal(amount)
            self._edit(connection, "orders_order", "discount", self._some(self.pool, 8), decimal, amount)
        elif kind == "address":
            address = {
                "street": self.choices.choice(STREETS),
                "by": "raw",
                "n": self.choices.randint(0, 99),
                "x": None,
            }
            self._edit(
                connection,
                "orders_order",
                "shipping_address",
                self._some(self.pool, 4),
                Jsonb(address),
                address,
            )
        elif kind == "message" or len(self._lines) < 100:
            text = self.choices.choice(TEXTS)
            self._edit(connection, "orders_orderline", "gift_message", self._some(self._lines, 8), text, text)
        else:
            line = self._lines.pop(self.choices.randrange(len(self._lines)))
            statement = "DELETE FROM orders_orderline WHERE id = ANY(%s)"
            self.attempt(connection, statement, [[line]], "delete", table="orders_orderline", keys=[line])

    def _edit(
        self,
        connection: psycopg.Connection[Any],
        table: str,
        column: str,
        keys: list[int],
        value: Any,
        plain: Any,
    ) -> None:
        statement = psycopg.sql.SQL("UPDATE {} SET {} = %s WHERE id = ANY(%s)").format(
            psycopg.sql.Identifier(table), psycopg.sql.Identifier(column)
        )
        self.attempt(
            connection,
            statement.as_string(),
            [value, keys],
            "edit",
            table=table,
            column=column,
            values={key: plain for key in keys},
        )

    def _some(self, pool: list[int], most: int) -> list[int]:
        return sorted(self.choices.sample(pool, min(self.choices.randint(1, most), len(pool))))


def _touched(connection: psycopg.Connection[Any], table: str, order_column: str, limit: int) -> list[int]:
    statement = psycopg.sql.SQL("SELECT id FROM {} WHERE {} %% %s = %s ORDER BY id LIMIT %s").format(
        psycopg.sql.Identifier(table), psycopg.sql.Identifier(order_column)
    )
    return [key for (key,) in connection.execute(statement, [TOUCHED_MODULUS, TOUCHED_REMAINDER, limit])]
