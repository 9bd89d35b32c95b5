"""A product's document: a movement is made once, however long somebody stands between looking and writing."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from extracted_services.inventory.documents.shelves import LAID_DOWN_AT, Shelves
from migration_tools.kernel import points
from tests.document_server import mongodb_url
from tests.services import depots


@pytest.fixture(scope="module")
def shelves() -> Iterator[Shelves]:
    """Products' documents by themselves, with no service."""
    with mongodb_url() as url, depots.looking(depots.database_url(url, f"shelves_{os.urandom(4).hex()}")) as database:
        yield Shelves(database)


def movement(order: int, quantity: int = -1) -> dict[str, Any]:
    return {"name": f"ordered-{order}", "order": order, "reason": "ordered", "quantity": quantity}


def test_looked_then_made_and_laid_down_by_another_is_not_made_again(shelves: Shelves) -> None:
    """The mark is gone when the slow one writes: only `tidied` tells."""

    def another() -> None:
        for order in range(1, LAID_DOWN_AT + 1):
            with points.on("inventory.looked", lambda: None):
                shelves.move(10, movement(order))

    shelves.move(10, movement(900, 100))
    calls = iter([another])
    with points.on("inventory.looked", lambda: next(calls, lambda: None)()):
        shelves.move(10, movement(1))
    found = shelves.find(10)
    assert found is not None
    assert (found["on_hand"], found["free"]) == (100 - LAID_DOWN_AT, 100 - LAID_DOWN_AT)
    assert found["tidied"] == 1
    laid = shelves.movements.count_documents({"product": 10})
    assert laid + len(found["marks"]) == LAID_DOWN_AT + 1


def test_a_document_does_not_grow_with_its_movements_and_each_is_known_for_good(shelves: Shelves) -> None:
    for order in range(100):
        shelves.move(11, movement(order))
    for order in range(100):
        shelves.move(11, movement(order))
    found = shelves.find(11)
    assert found is not None
    assert found["on_hand"] == -100
    assert len(found["marks"]) < LAID_DOWN_AT


def test_marks_that_were_laid_down_and_not_taken_out_are_laid_down_again_and_there_once(shelves: Shelves) -> None:
    class Cut(Exception):
        pass

    def cut() -> None:
        raise Cut

    shelves.move(12, movement(1))
    with points.on("inventory.laid_down", cut), pytest.raises(Cut):
        shelves.lay_down(12)
    shelves.move(12, movement(1))
    shelves.lay_down(12)
    assert shelves.movements.count_documents({"product": 12}) == 1
    assert (shelves.find(12) or {})["marks"] == {}


def test_to_look_first_and_then_to_promise_would_promise_the_last_one_twice_here_too(shelves: Shelves) -> None:
    """Why `hold` asks in the update itself: the naive way, with its two steps interleaved."""
    shelves.stock.insert_one({"_id": 13, "on_hand": 1, "free": 1, "reserved": 0, "holds": {}, "marks": {}, "tidied": 0})
    assert [shelves.has(13, 1), shelves.has(13, 1)] == [True, True]
    for _ in range(2):
        shelves.stock.update_one({"_id": 13}, {"$inc": {"free": -1, "reserved": 1}})
    assert (shelves.find(13) or {})["free"] == -1
    shelves.stock.update_one({"_id": 13}, {"$set": {"free": 1, "reserved": 0}})
    assert [shelves.hold(13, "a", 1), shelves.hold(13, "b", 1), shelves.hold(13, "a", 1)] == [True, False, True]
