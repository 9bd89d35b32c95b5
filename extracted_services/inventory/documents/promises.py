"""The reservations' documents: inserted first, entered in the products' documents, then held."""

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pymongo.errors import DuplicateKeyError

from migration_tools.errors import StoreAway
from migration_tools.kernel import points

from ..models import ReservationState
from ..ports import NoReservation, OtherReservation, TooFew
from .patience import Patient
from .shelves import Shelves

TAKING, HELD = "taking", ReservationState.HELD.value
RELEASED, FULFILLED = ReservationState.RELEASED.value, ReservationState.FULFILLED.value
ALIVE = {"$in": [TAKING, HELD]}
TRIES = 8

Document = dict[str, Any]


class Promises:
    """The collection `reservations`, of which every document is entered in those of its products."""

    def __init__(self, database: Any, shelves: Shelves) -> None:
        self.reservations = Patient(database["reservations"])
        self.shelves = shelves

    def prepare(self) -> None:
        """Make the indices; repeated, it changes nothing."""
        for field in ("public_id", "order"):
            self.reservations.create_index(field)

    def of_reference(self, customer: int, reference: str, wanted: Counter[int]) -> Document:
        """Promise products under a customer's reference, all or none, once; or raise as Keeper.reserve does."""
        identity = f"{customer}:{reference}"
        fresh = {"_id": identity, "customer": customer, "reference": reference, "order": None}
        for _ in range(TRIES):
            known = self.reservations.find_one({"_id": identity})
            if known is not None and (known["state"] not in (TAKING, HELD) or quantities(known) != wanted):
                raise OtherReservation(reference)
            if held := self._carried_on(known, fresh, wanted):
                return held
        raise _busy(identity)

    def of_order(self, order: str, customer: int, wanted: Counter[int]) -> Document:
        """Promise products to what will be an order; one whose promise was taken back gets another, under a new key."""
        identity = f"order:{order}"
        fresh = {"_id": identity, "customer": customer, "reference": f"order {order}", "order": order}
        for _ in range(TRIES):
            known = self.reservations.find_one({"_id": identity})
            if known is not None and known["state"] == FULFILLED:
                return dict(known)
            if known is not None and known["state"] == RELEASED:
                # Under its key nothing is ever held again: what is left of it is given back, by whoever finds it.
                self.reservations.delete_one({"_id": identity, "public_id": known["public_id"]})
                known = None
            if held := self._carried_on(known, fresh, wanted):
                return held
        raise _busy(identity)

    def release(self, customer: int, public_id: str) -> Document:
        """Take a customer's promise back, or raise NoReservation; repeated, it gives back what a crash left."""
        known = self.reservations.find_one({"public_id": public_id, "customer": customer, "order": None})
        if known is None:
            raise NoReservation(public_id)
        return self.end(known, RELEASED)

    def find_of_order(self, order: uuid.UUID) -> Document | None:
        """The promise to an order; None if there is none."""
        found: Document | None = self.reservations.find_one({"_id": f"order:{order}"})
        return found

    def end(self, known: Document, state: str) -> Document:
        """End a promise and give back what is entered under it; cut off in between, whoever repeats it goes on."""
        mine = {"_id": known["_id"], "public_id": known["public_id"]}
        self.reservations.update_one({**mine, "state": ALIVE}, {"$set": {"state": state}})
        points.reached("inventory.ended")
        self.give_back(known)
        return {**known, "state": state}

    def withdraw(self, known: Document) -> bool:
        """Give up what was not held yet; False if it is held by now, or gone."""
        mine = {"_id": known["_id"], "public_id": known["public_id"], "state": TAKING}
        if not self.reservations.delete_one(mine).deleted_count:
            return False
        points.reached("inventory.withdrawn")
        self.give_back(known)
        return True

    def give_back(self, known: Document) -> None:
        """Take a promise that has ended out of its products' documents."""
        for product, quantity in sorted(quantities(known).items()):
            self.shelves.let_go(product, known["public_id"], quantity)

    def is_alive(self, key: str) -> bool:
        """Whether something may be held under a key; once not, never again."""
        return self.reservations.find_one({"public_id": key, "state": ALIVE}) is not None

    def begun_before(self, moment: dt.datetime, state: str) -> Iterator[Document]:
        """Promises of a state that were begun before a moment."""
        yield from self.reservations.find({"state": state, "made_at": {"$lt": moment}})

    def _carried_on(self, known: Document | None, fresh: Document, wanted: Counter[int]) -> Document | None:
        """Begin a promise or go on with the one that is there; None if somebody came between, to look again."""
        if known is not None and known["state"] == HELD:
            return known
        if known is None:
            # Sold out is the usual refusal, and needs no document. Who is not refused here may still be.
            for product, quantity in sorted(wanted.items()):
                if not self.shelves.has(product, quantity):
                    raise TooFew(product)
            points.reached("inventory.seen")
            known = {
                **fresh,
                "public_id": uuid.uuid4().hex,
                "state": TAKING,
                "lines": [{"product": product, "quantity": wanted[product]} for product in sorted(wanted)],
                "made_at": dt.datetime.now(dt.UTC),
            }
            try:
                self.reservations.insert_one(dict(known))
            except DuplicateKeyError:
                return None
            points.reached("inventory.inserted")
        return self._take(known)

    def _take(self, known: Document) -> Document | None:
        """Enter a promise in its products' documents, in product order, and say that it is held."""
        for product, quantity in sorted(quantities(known).items()):
            if not self.shelves.hold(product, known["public_id"], quantity):
                if self.withdraw(known):
                    raise TooFew(product)
                break
            points.reached("inventory.held_one")
        else:
            mine = {"_id": known["_id"], "public_id": known["public_id"], "state": TAKING}
            if self.reservations.update_one(mine, {"$set": {"state": HELD}}).modified_count:
                points.reached("inventory.held")
                return {**known, "state": HELD}
        # Another may have held it, or ended it while this one was entering it.
        if not self.is_alive(known["public_id"]):
            self.give_back(known)
        now = self.reservations.find_one({"_id": known["_id"], "public_id": known["public_id"]})
        return now if now is not None and now["state"] in (HELD, FULFILLED) else None


def quantities(known: Document) -> Counter[int]:
    """How many of each product a reservation's document promises."""
    return Counter({line["product"]: line["quantity"] for line in known["lines"]})


def _busy(identity: str) -> StoreAway:
    return StoreAway(f"reservation {identity!r} is begun and given up by others again and again; try again in a moment")
