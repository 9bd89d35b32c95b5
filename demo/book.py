"""The book: what must be true at the end, folded from the ledger's lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from demo.ledger import ACKNOWLEDGED, INTENT, REFUSED

OUTCOMES = {"pay": "paid", "ship": "shipped", "cancel": "cancelled"}
"""The transition a shopper asks for, and the state it leads to."""


@dataclass(kw_only=True)
class Purchase:
    """One attempted purchase, known by its client reference."""

    reference: str
    user: int
    lines: list[tuple[int, int]]
    at: float
    acknowledged: bool = False
    refused: bool = False
    order: str = ""
    total: str = ""
    state: str = ""
    maybe: set[str] = field(default_factory=set)
    """States of transitions asked for after ``state`` whose answer never came."""

    @property
    def states(self) -> set[str]:
        return {self.state, *self.maybe}


@dataclass(kw_only=True)
class Edit:
    """The last value written behind HTTP's back into one cell."""

    value: Any = None
    known: bool = False
    maybe: list[Any] = field(default_factory=list)

    def allows(self, found: Any) -> bool:
        return (not self.known) or found == self.value or found in self.maybe


@dataclass(kw_only=True)
class Book:
    """Everything the ledger promises."""

    purchases: dict[str, Purchase] = field(default_factory=dict)
    edits: dict[tuple[str, str, int], Edit] = field(default_factory=dict)
    deleted: set[tuple[str, int]] = field(default_factory=set)
    maybe_deleted: set[tuple[str, int]] = field(default_factory=set)
    names: dict[int, Edit] = field(default_factory=dict)
    acknowledged: int = 0

    @property
    def kept(self) -> list[Purchase]:
        """The purchases that were acknowledged."""
        return [purchase for purchase in self.purchases.values() if purchase.acknowledged]


def fold(entries: Iterable[dict[str, Any]]) -> Book:
    """Fold ledger entries, in order, into what must be found in the databases."""
    book = Book()
    by_order: dict[str, Purchase] = {}
    open_intents: dict[int, dict[str, Any]] = {}
    for entry in entries:
        number = entry["number"]
        if entry["kind"] == INTENT:
            open_intents[number] = entry
            if entry["operation"] == "purchase":
                book.purchases[entry["reference"]] = Purchase(
                    reference=entry["reference"],
                    user=entry["user"],
                    lines=[(product, quantity) for product, quantity in entry["lines"]],
                    at=entry["at"],
                )
            else:
                _attempt(book, by_order, entry)
        elif entry["kind"] == ACKNOWLEDGED:
            book.acknowledged += 1
            _acknowledge(book, by_order, open_intents.pop(number), entry)
        elif entry["kind"] == REFUSED:
            _refuse(book, by_order, open_intents.pop(number))
    return book


def _attempt(book: Book, by_order: dict[str, Purchase], intent: dict[str, Any]) -> None:
    operation = intent["operation"]
    if operation in OUTCOMES:
        by_order[intent["order"]].maybe.add(OUTCOMES[operation])
    elif operation == "rename":
        book.names.setdefault(intent["user"], Edit()).maybe.append(intent["name"])
    elif operation == "edit":
        for key, value in intent["values"].items():
            cell = (intent["table"], intent["column"], int(key))
            book.edits.setdefault(cell, Edit()).maybe.append(value)
    elif operation == "delete":
        book.maybe_deleted.update((intent["table"], key) for key in intent["keys"])


def _acknowledge(book: Book, by_order: dict[str, Purchase], intent: dict[str, Any], answer: dict[str, Any]) -> None:
    operation = intent["operation"]
    if operation == "purchase":
        purchase = book.purchases[intent["reference"]]
        purchase.acknowledged = True
        purchase.order, purchase.total, purchase.state = answer["order"], answer["total"], answer["state"]
        by_order[purchase.order] = purchase
    elif operation in OUTCOMES:
        purchase = by_order[intent["order"]]
        purchase.state = answer["state"]
        purchase.maybe.clear()
    elif operation == "sign up":
        book.names[answer["user"]] = Edit(value=intent["name"], known=True)
    elif operation == "rename":
        book.names[intent["user"]] = Edit(value=intent["name"], known=True)
    elif operation == "edit":
        for key, value in intent["values"].items():
            book.edits[intent["table"], intent["column"], int(key)] = Edit(value=value, known=True)
    elif operation == "delete":
        gone = {(intent["table"], key) for key in intent["keys"]}
        book.deleted |= gone
        book.maybe_deleted -= gone


def _refuse(book: Book, by_order: dict[str, Purchase], intent: dict[str, Any]) -> None:
    operation = intent["operation"]
    if operation == "purchase":
        book.purchases[intent["reference"]].refused = True
    elif operation in OUTCOMES:
        by_order[intent["order"]].maybe.discard(OUTCOMES[operation])
    elif operation == "rename":
        book.names[intent["user"]].maybe.remove(intent["name"])
    elif operation == "edit":
        for key, value in intent["values"].items():
            book.edits[intent["table"], intent["column"], int(key)].maybe.remove(value)
    elif operation == "delete":
        book.maybe_deleted -= {(intent["table"], key) for key in intent["keys"]}
