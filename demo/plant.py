"""Planted corruptions: what a broken copy would look like, put straight into the service's database."""

from __future__ import annotations

import itertools
import json
import random
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

ORDER = "order"
LINE = "line"
NAMES = {
    ORDER: {"sales_order", "orders_order", "orders.order", "order"},
    LINE: {"sales_orderitem", "orders_orderline", "orders.orderline", "orderitem", "orderline"},
}
"""What a report may call the two tables, in lower case: by target, source or model."""

UNTOUCHED_MODULUS, UNTOUCHED_REMAINDER = 7, 5
"""Seeded orders with ``id % 7 = 5``: neither shoppers nor the legacy writers change them meanwhile."""

POOL = 3000


@dataclass(frozen=True, kw_only=True)
class Planted:
    """One row that differs now, and every name under which a report may give its key."""

    table: str
    kind: str
    keys: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Score:
    """How a verification did against what was planted."""

    planted: int
    found: int
    false_alarms: int
    missed: list[Planted]
    alarms: list[dict[str, Any]]


class Planter:
    """Corrupts rows, each in another way, in one transaction that no trigger stops or captures."""

    def __init__(self, connection: psycopg.Connection[Any], choices: random.Random, upto: int) -> None:
        self._connection = connection
        self._choices = choices
        self._planted: list[Planted] = []
        rows = connection.execute(
            "SELECT id, public_id::text, remark IS NULL, remark <> '' FROM sales_order"
            " WHERE id <= %s AND id %% %s = %s ORDER BY id LIMIT %s",
            [upto, UNTOUCHED_MODULUS, UNTOUCHED_REMAINDER, POOL],
        ).fetchall()
        choices.shuffle(rows)
        self._orders = rows

    def plant(self, count: int) -> list[Planted]:
        """Plant at least ``count`` differing rows, as many of each kind as of the others."""
        kinds: tuple[Callable[[], None], ...] = (
            self._missing_line,
            self._missing_order,
            self._extra_order,
            self._amount,
            self._null_for_empty,
            self._json,
            self._microsecond,
            self._swapped,
            self._orphan_line,
            self._trailing_space,
        )
        for kind in itertools.cycle(kinds):
            if len(self._planted) >= count:
                return self._planted
            kind()
        raise AssertionError

    def _add(self, table: str, kind: str, *keys: object) -> None:
        self._planted.append(Planted(table=table, kind=kind, keys=frozenset(map(str, keys))))

    def _order(self, *, null: bool | None = None, text: bool | None = None) -> tuple[int, str]:
        for place, (key, public_id, is_null, has_text) in enumerate(self._orders):
            if (null is None or is_null == null) and (text is None or bool(has_text) == text):
                del self._orders[place]
                return key, public_id
        raise ValueError("too few seeded orders to corrupt; seed more")

    def _lines_of(self, public_id: str) -> list[int]:
        rows = self._connection.execute(
            "SELECT id FROM sales_orderitem WHERE order_public_id = %s ORDER BY id", [public_id]
        )
        return [key for (key,) in rows]

    def _update(self, kind: str, assignment: str, **wanted: bool) -> None:
        key, public_id = self._order(**wanted)
        self._connection.execute(f"UPDATE sales_order SET {assignment} WHERE id = %s", [key])  # noqa: S608
        self._add(ORDER, kind, key, public_id)

    def _missing_line(self) -> None:
        while not (lines := self._lines_of(self._order()[1])):
            continue
        self._connection.execute("DELETE FROM sales_orderitem WHERE id = %s", [lines[0]])
        self._add(LINE, "missing line", lines[0])

    def _missing_order(self) -> None:
        key, public_id = self._order()
        for line in self._lines_of(public_id):
            self._add(LINE, "line of a missing order", line)
        self._connection.execute("DELETE FROM sales_orderitem WHERE order_public_id = %s", [public_id])
        self._connection.execute("DELETE FROM sales_order WHERE id = %s", [key])
        self._add(ORDER, "missing order", key, public_id)

    def _extra_order(self) -> None:
        public_id = str(uuid.UUID(int=self._choices.getrandbits(128), version=4))
        (key,) = self._connection.execute(
            """
            INSERT INTO sales_order (id, public_id, customer_id, customer_name, state, total_cents,
                discount_cents, currency, remark, reference, ship_to, ordered_at, paid_at, modified_at)
            OVERRIDING SYSTEM VALUE
            SELECT (SELECT max(id) FROM sales_order) + 5000000, %s, customer_id, customer_name, state,
                total_cents, discount_cents, currency, remark, reference, ship_to, ordered_at, paid_at,
                modified_at
            FROM sales_order WHERE id = %s RETURNING id
            """,
            [public_id, self._order()[0]],
        ).fetchone() or (0,)
        self._add(ORDER, "extra order", key, public_id)

    def _amount(self) -> None:
        self._update("amount off by a cent", "total_cents = total_cents + 1")

    def _null_for_empty(self) -> None:
        self._update("'' for NULL", "remark = ''", null=True)

    def _json(self) -> None:
        self._update("a JSON null more", """ship_to = ship_to || '{"planted": null}'::jsonb""")

    def _microsecond(self) -> None:
        self._update("a microsecond off", "ordered_at = ordered_at + interval '1 microsecond'")

    def _trailing_space(self) -> None:
        self._update("a trailing space", "remark = remark || ' '", text=True)

    def _swapped(self) -> None:
        (one, one_id), (other, other_id) = self._order(), self._order()
        self._connection.execute(
            """
            UPDATE sales_order mine SET ship_to = theirs.ship_to, ordered_at = theirs.ordered_at,
                total_cents = theirs.total_cents
            FROM sales_order theirs
            WHERE (mine.id, theirs.id) IN ((%(one)s, %(other)s), (%(other)s, %(one)s))
            """,
            {"one": one, "other": other},
        )
        self._add(ORDER, "swapped pair", one, one_id)
        self._add(ORDER, "swapped pair", other, other_id)

    def _orphan_line(self) -> None:
        while not (lines := self._lines_of(self._order()[1])):
            continue
        (key,) = self._connection.execute(
            """
            INSERT INTO sales_orderitem (id, order_public_id, product_id, qty, unit_cents, gift_note)
            OVERRIDING SYSTEM VALUE
            SELECT (SELECT max(id) FROM sales_orderitem) + 5000000, %s, product_id, qty, unit_cents, gift_note
            FROM sales_orderitem WHERE id = %s RETURNING id
            """,
            [str(uuid.UUID(int=self._choices.getrandbits(128), version=4)), lines[0]],
        ).fetchone() or (0,)
        self._add(LINE, "orphan line", key)


def plant(orders_superuser_dsn: str, *, count: int, seed: int, upto: int) -> list[Planted]:
    """Plant corruptions of every kind among the orders up to the id ``upto``.

    As superuser and in the guise of the toolkit's own applying: not fenced, captured or constrained.
    """
    with psycopg.connect(orders_superuser_dsn) as connection:
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("SELECT set_config('strangle.applying', 'row', true)")
        return Planter(connection, random.Random(f"{seed}-plant"), upto).plant(count)  # noqa: S311


def score(planted: Iterable[Planted], report: Path) -> Score:
    """Compare what was planted with the differences in a verification's JSON report."""
    remaining = list(planted)
    total = len(remaining)
    alarms = []
    for difference in json.loads(report.read_text(encoding="utf-8"))["differences"]:
        keys, table = _texts(difference["key"]), str(difference["table"]).lower()
        hit = next((each for each in remaining if table in NAMES[each.table] and keys & each.keys), None)
        if hit is None:
            alarms.append(difference)
        else:
            remaining.remove(hit)
    return Score(planted=total, found=total - len(remaining), false_alarms=len(alarms), missed=remaining, alarms=alarms)


def _texts(key: Any) -> set[str]:
    """Every scalar in a key, however a report nests it."""
    if isinstance(key, dict):
        return {text for value in key.values() for text in _texts(value)}
    if isinstance(key, list | tuple):
        return {text for value in key for text in _texts(value)}
    return {str(key)}
