"""The facts in ClickHouse: who bought what, what was paid, what was cancelled; and the questions asked of them.

Note [facts, not sums]. What an event says is written under a key of its own and never changed, so that an event that is
delivered twice, late, or again after a crash writes the row that is there. Nothing is counted while writing: a sum is
asked for when somebody wants it, over rows of which there is one each.
"""

import datetime as dt
import threading
from collections.abc import Iterator
from typing import Any, cast

from migration_tools.stores.clickhouse.store import ClickHouseStore
from migration_tools.stores.opening import open_store
from migration_tools.stores.ports import Column, Shape, VersionedRow

AT_MOST = 10


def _shape(name: str, key: tuple[str, ...], **columns: str) -> Shape:
    made = tuple(Column(name=column, type=kind) for column, kind in columns.items())
    return Shape(name=f"facts.{name}", into=name, key=key, columns=made, declaration="1")


LINE = _shape(
    "bought_line",
    ("order_id", "number"),
    order_id="uuid",
    number="integer",
    customer="bigint",
    product="bigint",
    quantity="integer",
)
PAID = _shape("paid_order", ("order_id",), order_id="uuid", day="date", amount="numeric(14,2)")
CANCELLED = _shape("cancelled_order", ("order_id",), order_id="uuid", day="date")

# Products in orders that also had something this customer bought, which they have not bought themselves.
TOGETHER = """SELECT product, count(DISTINCT order_id) AS together FROM {line} FINAL
    WHERE order_id IN (SELECT order_id FROM {line} FINAL WHERE product IN (
            SELECT product FROM {line} FINAL WHERE customer = toInt64({{customer:String}})))
        AND product NOT IN (SELECT product FROM {line} FINAL WHERE customer = toInt64({{customer:String}}))
    GROUP BY product ORDER BY together DESC, product LIMIT {at_most}"""
REVENUE = """SELECT day, count(), sum(amount) FROM {paid} FINAL
    WHERE day BETWEEN toDate32({{first:String}}) AND toDate32({{last:String}})
        AND order_id NOT IN (SELECT order_id FROM {cancelled} FINAL)
    GROUP BY day ORDER BY day"""


class Facts:
    """The store, opened when it is first needed; one statement at a time, as chdb wants it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._store: ClickHouseStore | None = None

    def write(self, shape: Shape, *values: tuple[object, ...]) -> None:
        """Write facts, of which each is there once however often it is written.

        Raises:
            StoreAway: ClickHouse does not answer; the event is taken again.
        """
        rows = []
        for row in values:
            texts = tuple(str(value) for value in row)
            rows.append(VersionedRow(key=shape.key_of(texts), version=1, values=texts))
        with self._lock:
            self._opened().upsert(shape, rows)

    def together(self, customer: int) -> Iterator[tuple[int, int]]:
        """(product, in how many orders) for a customer, the most frequent first."""
        for product, count in self._ask(TOGETHER, customer=str(customer)):
            yield int(product), int(count)

    def revenue(self, first: dt.date, last: dt.date) -> Iterator[tuple[dt.date, int, str]]:
        """(day, orders, amount) of days on which something was paid that was not cancelled afterwards."""
        for day, orders, amount in self._ask(REVENUE, first=first.isoformat(), last=last.isoformat()):
            yield dt.date.fromisoformat(day), int(orders), amount

    def _ask(self, question: str, **parameters: str) -> list[tuple[Any, ...]]:
        with self._lock:
            store = self._opened()
            tables = {"line": LINE, "paid": PAID, "cancelled": CANCELLED}
            named = {name: store.table(shape) for name, shape in tables.items()}
            return list(store.ask(question.format(**named, at_most=AT_MOST), parameters))

    def _opened(self) -> ClickHouseStore:
        if self._store is None:
            store = cast(ClickHouseStore, open_store("facts"))
            for shape in (LINE, PAID, CANCELLED):
                store.prepare(shape)
            self._store = store
        return self._store


FACTS = Facts()
