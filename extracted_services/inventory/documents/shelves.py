"""The products' documents: how many are on hand, promised and free, who holds how many, and the newest movements.

Note [marks]. A movement happens in one update of its product's document: `on_hand` changes and `marks` gets the
movement's key, unless it has it. Thirty-two marks are laid down as documents of their own and taken out; so a document
does not grow with every order. Whoever moves reads the product first (`tidied` says how often marks were taken out),
then looks for the movement's own document, and changes the product only if `tidied` is what was read. A mark that was
there and is not any more was laid down before it was taken out: before the reading, then its document is found; or
after it, then `tidied` has changed. So a movement is made once, however long somebody stands between looking and
writing.
"""

import datetime as dt
from collections.abc import Iterator
from typing import Any

from pymongo.errors import BulkWriteError, DuplicateKeyError

from migration_tools.kernel import points

from .patience import Patient

DUPLICATE_KEY = 11_000
LAID_DOWN_AT = 32
EMPTY = {"on_hand": 0, "reserved": 0, "free": 0, "holds": {}, "marks": {}, "tidied": 0}


class Shelves:
    """The collections `stock` and `movements`."""

    def __init__(self, database: Any) -> None:
        self.stock = Patient(database["stock"])
        self.movements = Patient(database["movements"])

    def find(self, product: int) -> dict[str, Any] | None:
        """A product's document; None if there is none."""
        found: dict[str, Any] | None = self.stock.find_one({"_id": product})
        return found

    def has(self, product: int, quantity: int) -> bool:
        """Whether so many are free at this moment."""
        found = self.stock.find_one({"_id": product, "free": {"$gte": quantity}}, {"_id": 1})
        return found is not None

    def hold(self, product: int, key: str, quantity: int) -> bool:
        """Promise so many under a key; False if that many are not free. Repeated, it changes nothing."""
        wanted = {"_id": product, "free": {"$gte": quantity}, f"holds.{key}": {"$exists": False}}
        change = {"$inc": {"free": -quantity, "reserved": quantity}, "$set": {f"holds.{key}": quantity}}
        if self.stock.update_one(wanted, change).modified_count:
            return True
        return key in (self.find(product) or EMPTY)["holds"]

    def let_go(self, product: int, key: str, quantity: int) -> bool:
        """Take a promise back; False if it is not there any more."""
        change = {"$inc": {"free": quantity, "reserved": -quantity}, "$unset": {f"holds.{key}": ""}}
        return bool(self.stock.update_one({"_id": product, f"holds.{key}": quantity}, change).modified_count)

    def held(self) -> Iterator[tuple[int, str, int]]:
        """(product, key, quantity) of everything that is promised now."""
        for found in self.stock.find({"reserved": {"$gt": 0}}):
            yield from ((found["_id"], key, quantity) for key, quantity in found["holds"].items())

    def move(self, product: int, movement: dict[str, Any], *, key: str = "") -> int:
        """Make a movement once, out of the promise under `key` if there is one; what is on hand then.

        Args:
            movement: its `name`, by which it is known again, `order`, `reason` and `quantity`.
        """
        name, quantity = movement["name"], movement["quantity"]
        while True:
            found = self.find(product)
            if found is None:
                self._begin(product)
                continue
            if name in found["marks"] or self.movements.find_one({"_id": f"{product} {name}"}):
                if key in found["holds"]:
                    self.let_go(product, key, found["holds"][key])
                return int(found["on_hand"])
            points.reached("inventory.looked")
            wanted = {"_id": product, "tidied": found["tidied"], f"marks.{name}": {"$exists": False}}
            mark = {each: movement[each] for each in ("order", "reason", "quantity")} | {"at": dt.datetime.now(dt.UTC)}
            change = {"$inc": {"on_hand": quantity, "free": quantity}, "$set": {f"marks.{name}": mark}}
            if key:
                out = found["holds"].get(key)
                wanted[f"holds.{key}"] = {"$exists": False} if out is None else out
                if out is not None:
                    change["$inc"] |= {"free": quantity + out, "reserved": -out}
                    change["$unset"] = {f"holds.{key}": ""}
            if self.stock.update_one(wanted, change).modified_count:
                points.reached("inventory.moved_one")
                if len(found["marks"]) + 1 >= LAID_DOWN_AT:
                    self.lay_down(product)
                return int(found["on_hand"]) + quantity

    def lay_down(self, product: int) -> None:
        """Make documents of a product's marks; cut off anywhere, it is done again and changes nothing twice."""
        found = self.find(product) or EMPTY
        marks = found["marks"]
        if not marks:
            return
        documents = [
            {"_id": f"{product} {name}", "product": product, "order": mark["order"], "reason": mark["reason"],
             "quantity": mark["quantity"], "moved_at": mark["at"]}
            for name, mark in marks.items()
        ]  # fmt: skip
        insert_absent(self.movements, documents)
        points.reached("inventory.laid_down")
        change = {"$unset": {f"marks.{name}": "" for name in marks}, "$inc": {"tidied": 1}}
        self.stock.update_one({"_id": product, "tidied": found["tidied"]}, change)

    def _begin(self, product: int) -> None:
        try:
            self.stock.insert_one({"_id": product, **EMPTY})
        except DuplicateKeyError:
            points.reached("inventory.begun_by_another")


def insert_absent(collection: Any, documents: list[dict[str, Any]]) -> None:
    """Insert documents; those that are there are left as they are."""
    try:
        collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        faults = (error.details or {}).get("writeErrors", [])
        if not faults or any(fault.get("code") != DUPLICATE_KEY for fault in faults):
            raise
