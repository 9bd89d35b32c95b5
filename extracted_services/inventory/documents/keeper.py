"""The Keeper over MongoDB's documents; what is told of them is told by PostgreSQL's transaction."""

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from django.db import IntegrityError, transaction

from migration_tools.errors import StoreAway
from migration_tools.sagas.guard import allowing_connections
from migration_tools.stores.mongodb_client import answering, database_at

from .. import events
from ..models import Reason, Settled
from ..ports import Reservation, ReservedLine, Shelf
from .guard import refuse_on_its_way, rows_left
from .promises import FULFILLED, RELEASED, Document, Promises, quantities
from .shelves import Shelves

DATABASE = "inventory"
# A customer waits for it.
ANSWER_SECONDS = 10.0
STEPS = "each step is one conditional update that finds out whether it was done before; see Note [steps on documents]"


class Documents:
    """The Keeper over the database that a URL names, which is asked at the first step; close it.

    Raises:
        StoreAway: the stock is in PostgreSQL's rows still.
    """

    def __init__(self, url: str) -> None:
        if rows_left():
            raise StoreAway(
                "INVENTORY_STORE_ENGINE is 'mongodb', but the stock is in PostgreSQL's rows still; run "
                "inventory_to_documents"
            )
        database = database_at(url, DATABASE, answer_seconds=ANSWER_SECONDS)
        self._client = database.client
        self.shelves = Shelves(database)
        self.promises = Promises(database, self.shelves)
        self._prepared = False

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def answers(self) -> None:
        """See Keeper."""
        with self._step():
            self._client.admin.command("ping")

    def find(self, product_id: int) -> Shelf | None:
        """See Keeper."""
        with self._step():
            found = self.shelves.find(product_id)
        return None if found is None else Shelf(product_id=product_id, on_hand=found["on_hand"])

    def receive(self, product_id: int, quantity: int) -> Shelf:
        """See Keeper. A delivery has no number: entered twice, it was delivered twice."""
        name = f"received-{uuid.uuid4().hex}"
        movement = {"name": name, "order": None, "reason": Reason.RECEIVED.value, "quantity": quantity}
        with self._step():
            return Shelf(product_id=product_id, on_hand=self.shelves.move(product_id, movement))

    def settle(self, order_number: int, quantities: Mapping[int, int], reason: Reason) -> bool:
        """See Keeper."""
        with self._step():
            return self._settle(order_number, quantities, reason, key="")

    def sell(self, order: uuid.UUID, order_number: int, quantities: Mapping[int, int]) -> bool:
        """See Keeper. The promise ends last: until then nobody may give it back."""
        with self._step():
            promise = self.promises.find_of_order(order)
            key = promise["public_id"] if promise else ""
            told = self._settle(order_number, quantities, Reason.ORDERED, key=key)
            if promise:
                self.promises.end(promise, FULFILLED)
        return told

    def reserve(self, customer_id: int, reference: str, quantities: Counter[int]) -> Reservation:
        """See Keeper."""
        with self._step():
            return _shown(self.promises.of_reference(customer_id, reference, quantities))

    def release(self, customer_id: int, public_id: uuid.UUID) -> Reservation:
        """See Keeper."""
        with self._step():
            return _shown(self.promises.release(customer_id, public_id.hex))

    def reserve_for_order(self, order: uuid.UUID, customer_id: int, quantities: Counter[int]) -> None:
        """See Keeper; a repetition finds the promise."""
        with allowing_connections(STEPS), self._step():
            self.promises.of_order(str(order), customer_id, quantities)

    def release_of_order(self, order: uuid.UUID) -> None:
        """See Keeper."""
        with allowing_connections(STEPS), self._step():
            promise = self.promises.find_of_order(order)
            if promise is not None:
                self.promises.end(promise, RELEASED)

    @contextmanager
    def _step(self) -> Iterator[None]:
        """Do something with documents, if nothing forbids it; the first time there are indices to make."""
        refuse_on_its_way()
        with answering():
            if not self._prepared:
                self.promises.prepare()
                self._prepared = True
            yield

    def _settle(self, order_number: int, quantities: Mapping[int, int], reason: Reason, *, key: str) -> bool:
        """Move an order's products, and tell of it unless that was told.

        Whoever tells of an order inserts a row first; of two roads from one sale the second waits for the first, and
        finds it told, or, if the first was cut off, tells of it.
        """
        if not _claimed(order_number, reason):
            return False
        sign = -1 if reason == Reason.ORDERED else +1
        left = {}
        for product, quantity in sorted(quantities.items()):
            movement = {
                "name": f"{reason.value}-{order_number}",
                "order": order_number,
                "reason": reason.value,
                "quantity": sign * quantity,
            }
            left[product] = self.shelves.move(product, movement, key=key)
        short = [product for product, on_hand in left.items() if on_hand < 0]
        events.stock_moved(order_number, quantities, reason, short)
        return True


def _claimed(order_number: int, reason: Reason) -> bool:
    """Insert the row of who tells of an order; False if it is there."""
    try:
        with transaction.atomic():
            Settled.objects.create(order_number=order_number, reason=reason)
    except IntegrityError:
        return False
    return True


def _shown(known: Document) -> Reservation:
    return Reservation(
        public_id=uuid.UUID(known["public_id"]),
        reference=known["reference"],
        state=known["state"],
        lines=[ReservedLine(product_id=product, quantity=many) for product, many in sorted(quantities(known).items())],
    )
