"""Which call a transaction is laid to: calls are told apart however soon one follows the other, and let go of after."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from legacy_monolith.orders.models import Order
from legacy_monolith.payments.models import Payment
from migration_tools.analysis.observation import scope
from tests.integration.test_analysis import tracing

CODE = """
def write(cursor, table):
    cursor.execute(f"DELETE FROM {table} WHERE false")


def in_turn(atomic, cursor):
    with atomic():
        for table in ("orders_order", "payments_payment"):
            write(cursor, table)


def at_once(models):
    for model in models:
        model.objects.filter(pk=0)._raw_delete("default")


def within(atomic, models):
    with atomic():
        at_once(models)


def keeping(atomic, models, keep):
    kept = keep()
    with atomic():
        at_once(models)
    return id(kept)
"""


class Kept:
    """What a call has in a local variable."""


@pytest.fixture
def planted() -> dict[str, Callable[..., Any]]:
    """Functions of the context of orders."""
    namespace: dict[str, Any] = {"__name__": "legacy_monolith.orders.planted"}
    exec(CODE, namespace)  # noqa: S102
    return namespace


@pytest.mark.django_db(transaction=True)
def test_a_call_that_takes_the_place_of_one_that_ended_is_another_call(planted: dict[str, Any]) -> None:
    """The interpreter gives the second call of write() the first one's address, more often than not."""
    with tracing() as trace, connection.cursor() as cursor:
        for _ in range(100):
            planted["in_turn"](transaction.atomic, cursor)
        planted["within"](transaction.atomic, [Order, Payment])
    found = {(each.function.rpartition(".")[2], each.count) for each in trace.written.values()}
    assert found == {("in_turn", 100), ("at_once", 1)}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ends", ["with its request", "with the next statement"])
def test_calls_are_let_go_of_with_what_they_hold(ends: str, planted: dict[str, Any]) -> None:
    held: list[weakref.ref[Kept]] = []

    def keep() -> Kept:
        made = Kept()
        held.append(weakref.ref(made))
        return made

    with tracing() as trace:
        if ends == "with its request":
            with scope("GET /"):
                planted["keeping"](transaction.atomic, [Order, Payment], keep)
        else:
            planted["keeping"](transaction.atomic, [Order, Payment], keep)
            Order.objects.count()
        assert [each.function.rpartition(".")[2] for each in trace.written.values()] == ["at_once"]
        assert held[0]() is None
