"""The facts in ClickHouse: a row for each line bought, payment and cancellation; see Note [facts, not sums]."""

import datetime as dt
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from migration_tools.stores.clickhouse.store import ClickHouseStore
from migration_tools.stores.opening import open_store
from migration_tools.stores.ports import Column, Shape, VersionedRow


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
    GROUP BY product ORDER BY together DESC, product LIMIT {{at_most:UInt32}}"""
REVENUE = """SELECT day, count(), sum(amount) FROM {paid} FINAL
    WHERE day BETWEEN toDate32({{first:String}}) AND toDate32({{last:String}})
        AND order_id NOT IN (SELECT order_id FROM {cancelled} FINAL)
    GROUP BY day ORDER BY day"""


class FactRows:
    """See Facts; the store is opened when it is first needed, and asked one statement at a time, as chdb wants it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._store: ClickHouseStore | None = None

    def placed(self, order: str, customer: int, lines: Sequence[Mapping[str, int]]) -> None:
        """See Facts."""
        numbered = enumerate(lines, 1)
        self._write(LINE, *((order, number, customer, line["product"], line["quantity"]) for number, line in numbered))

    def paid(self, order: str, day: dt.date, amount: str) -> None:
        """See Facts."""
        self._write(PAID, (order, day, amount))

    def cancelled(self, order: str, day: dt.date) -> None:
        """See Facts."""
        self._write(CANCELLED, (order, day))

    def together(self, customer: int, at_most: int) -> Iterator[tuple[int, int]]:
        """See Facts."""
        for product, count in self._ask(TOGETHER, customer=str(customer), at_most=str(at_most)):
            yield int(product), int(count)

    def revenue(self, first: dt.date, last: dt.date) -> Iterator[tuple[dt.date, int, str]]:
        """See Facts."""
        for day, orders, amount in self._ask(REVENUE, first=first.isoformat(), last=last.isoformat()):
            yield dt.date.fromisoformat(day), int(orders), amount

    def _write(self, shape: Shape, *values: tuple[object, ...]) -> None:
        rows = []
        for row in values:
            texts = tuple(str(value) for value in row)
            rows.append(VersionedRow(key=shape.key_of(texts), version=1, values=texts))
        with self._lock:
            self._opened().upsert(shape, rows)

    def _ask(self, question: str, **parameters: str) -> list[tuple[Any, ...]]:
        with self._lock:
            store = self._opened()
            tables = {"line": LINE, "paid": PAID, "cancelled": CANCELLED}
            named = {name: store.table(shape) for name, shape in tables.items()}
            return list(store.ask(question.format(**named), parameters))

    def _opened(self) -> ClickHouseStore:
        if self._store is None:
            store = cast(ClickHouseStore, open_store("facts"))
            for shape in (LINE, PAID, CANCELLED):
                store.prepare(shape)
            self._store = store
        return self._store
