"""The facts in MongoDB: one document an order, of which each event says its own fields, whatever came before it.

    {_id: <order>, customer: 7, products: [3, 5], lines: [{product: 3, quantity: 1}, …],
     paid: {day: "2026-03-01", amount: NumberDecimal("12.50")}, cancelled: "2026-03-02"}

No two events say the same field, so any order of arrival makes the same document; see Note [facts, not sums].
"""

import datetime as dt
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bson.decimal128 import Decimal128

from migration_tools.conf import settings
from migration_tools.stores.mongodb_client import answering, database_at

COLLECTION = "order_facts"
INDEXES = ("customer", "products", "paid.day")
REVENUE: Sequence[Mapping[str, Any]] = (
    {"$group": {"_id": "$paid.day", "orders": {"$sum": 1}, "amount": {"$sum": "$paid.amount"}}},
    {"$sort": {"_id": 1}},
)


class FactDocuments:
    """See Facts; the collection is opened when it is first needed, by one thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._collection: Any = None
        self._missing = list(INDEXES)

    def placed(self, order: str, customer: int, lines: Sequence[Mapping[str, int]]) -> None:
        """See Facts."""
        kept = [{"product": line["product"], "quantity": line["quantity"]} for line in lines]
        products = sorted({line["product"] for line in lines})
        self._say(order, {"customer": customer, "products": products, "lines": kept})

    def paid(self, order: str, day: dt.date, amount: str) -> None:
        """See Facts."""
        self._say(order, {"paid": {"day": day.isoformat(), "amount": Decimal128(amount)}})

    def cancelled(self, order: str, day: dt.date) -> None:
        """See Facts."""
        self._say(order, {"cancelled": day.isoformat()})

    def together(self, customer: int, at_most: int) -> list[tuple[int, int]]:
        """See Facts; the engine counts equal baskets, this process the products in them."""
        with answering():
            own = set(self._orders().distinct("products", {"customer": customer}))
            baskets = [
                {"$match": {"products": {"$in": sorted(own)}}},
                {"$group": {"_id": "$products", "orders": {"$sum": 1}}},
            ]
            counts: Counter[int] = Counter()
            for basket in self._orders().aggregate(baskets):
                counts.update({product: basket["orders"] for product in basket["_id"] if product not in own})
        return sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:at_most]

    def revenue(self, first: dt.date, last: dt.date) -> list[tuple[dt.date, int, str]]:
        """See Facts."""
        period = {"paid.day": {"$gte": first.isoformat(), "$lte": last.isoformat()}, "cancelled": None}
        with answering():
            days = list(self._orders().aggregate([{"$match": period}, *REVENUE]))
        return [
            (dt.date.fromisoformat(day["_id"]), day["orders"], f"{day['amount'].to_decimal().normalize():f}")
            for day in days
        ]

    def _say(self, order: str, fields: Mapping[str, Any]) -> None:
        with answering():
            self._orders().update_one({"_id": order}, {"$set": fields}, upsert=True)

    def _orders(self) -> Any:
        with self._lock:
            if self._collection is None:
                self._collection = database_at(str(settings().STORES["facts"]["URL"]), "recommendations")[COLLECTION]
            while self._missing:
                self._collection.create_index(self._missing[-1])
                self._missing.pop()
        return self._collection
