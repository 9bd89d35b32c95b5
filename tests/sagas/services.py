"""The three services of the tests: the order saga orchestrated and choreographed, and the money transfer."""

from typing import Any

from migration_tools.sagas.choreography import originates, reacts
from migration_tools.sagas.declaring import declare
from migration_tools.sagas.definition import LocalStep, Rejected, Saga, Step
from migration_tools.sagas.participant import Command, compensates, performs
from tests.sagas import tables
from tests.sagas.definitions import QUICK, SOON
from tests.sagas.tables import STREAMS, execute, stumble, withdraw

ORDERS, INVENTORY, PAYMENTS = (STREAMS[name] for name in ("orders", "inventory", "payments"))

SHOP_ORDER = declare(
    Saga(
        "shop_order",
        stream=ORDERS,
        group="orders",
        steps=(
            Step("create", local=lambda step: tables.create(step), undo=lambda step: tables.cancel(step)),
            Step(
                "reserve",
                command="inventory.reserve",
                compensation="inventory.release",
                replies=INVENTORY,
                sends=("sku", "quantity"),
                retry=QUICK,
                timeout=SOON,
            ),
            Step(
                "pay",
                command="payments.take",
                compensation="payments.refund",
                replies=PAYMENTS,
                sends=("customer", "amount"),
                retry=QUICK,
                timeout=SOON,
            ),
            Step("confirm", local=lambda step: tables.confirm(step), retry=QUICK),
        ),
    )
)

SHOP_TRANSFER = declare(
    Saga(
        "transfer",
        stream=ORDERS,
        group="orders",
        steps=(
            Step(
                "debit_a",
                command="bank_a.debit",
                compensation="bank_a.undo_debit",
                replies=PAYMENTS,
                retry=QUICK,
                timeout=SOON,
            ),
            Step("credit_b", command="bank_b.credit", replies=INVENTORY, pivot=True, retry=QUICK, timeout=SOON),
        ),
    )
)


@performs("inventory.reserve", stream=ORDERS, replies=INVENTORY, group="inventory")
def reserve(command: Command) -> dict[str, Any]:
    return tables.reserve(command, command.data)


@compensates("inventory.release", stream=ORDERS, replies=INVENTORY, group="inventory")
def release(command: Command) -> None:
    tables.release(command, command.data, command.result)


@performs("payments.take", stream=ORDERS, replies=PAYMENTS, group="payments")
def take(command: Command) -> None:
    tables.take(command, command.data)


@compensates("payments.refund", stream=ORDERS, replies=PAYMENTS, group="payments")
def refund(command: Command) -> None:
    tables.refund(command, command.data)


@performs("bank_a.debit", stream=ORDERS, replies=PAYMENTS, group="payments")
def debit(command: Command) -> dict[str, int]:
    if not withdraw(command, command.data["from"], command.data["amount"]):
        raise Rejected("insufficient_funds")
    stumble("debit_a")
    return {"debited": command.data["amount"]}


@compensates("bank_a.undo_debit", stream=ORDERS, replies=PAYMENTS, group="payments")
def undo_debit(command: Command) -> None:
    """Give back what was taken, as the stored result says; not "credit A" under the same key, as in the seed."""
    query = "UPDATE shop_account SET balance = balance + %s WHERE name = %s"
    execute(command.using, query, command.result["debited"], command.data["from"])


@performs("bank_b.credit", stream=ORDERS, replies=INVENTORY, group="inventory")
def credit(command: Command) -> None:
    stumble("credit_b")
    query = "UPDATE shop_account SET balance = balance + %s WHERE name = %s AND open"
    if not execute(command.using, query, command.data["amount"], command.data["to"]):
        raise Rejected("account_invalid")


# The same order by events alone.

CREATED = originates("order.created", saga="shop_order_by_events", step="create", stream=ORDERS)
BY_EVENTS: dict[str, Any] = {"saga": "shop_order_by_events"}


@reacts(
    "order.created",
    stream=ORDERS,
    step="reserve",
    emits="inventory.reserved",
    fails="inventory.refused",
    publishes_on=INVENTORY,
    group="inventory",
    **BY_EVENTS,
)
def on_created(command: Command) -> dict[str, Any]:
    return tables.reserve(command, command.data)


@reacts(
    "inventory.reserved",
    stream=INVENTORY,
    step="pay",
    emits="payment.taken",
    fails="payment.refused",
    publishes_on=PAYMENTS,
    group="payments",
    **BY_EVENTS,
)
def on_reserved(command: Command) -> None:
    tables.take(command, command.data)


@reacts(
    "payment.taken",
    stream=PAYMENTS,
    step="confirm",
    emits="order.confirmed",
    fails="order.unconfirmed",
    publishes_on=ORDERS,
    group="orders",
    **BY_EVENTS,
)
def on_taken(command: Command) -> None:
    tables.confirm(command)


@reacts(
    "order.unconfirmed",
    stream=ORDERS,
    undoes="pay",
    emits="payment.refunded",
    publishes_on=PAYMENTS,
    group="payments",
    **BY_EVENTS,
)
def on_unconfirmed(command: Command) -> None:
    tables.refund(command, command.data)


def on_unpaid(command: Command) -> None:
    tables.release(command, command.data, command.result)


for _event in ("payment.refused", "payment.refunded"):
    reacts(
        _event,
        stream=PAYMENTS,
        undoes="reserve",
        emits="inventory.released",
        publishes_on=INVENTORY,
        group="inventory",
        **BY_EVENTS,
    )(on_unpaid)


def on_unreserved(command: Command) -> None:
    tables.cancel(command)


for _event in ("inventory.refused", "inventory.released"):
    reacts(
        _event,
        stream=INVENTORY,
        undoes="create",
        emits="order.cancelled_by_saga",
        publishes_on=ORDERS,
        group="orders",
        **BY_EVENTS,
    )(on_unreserved)


def create_here(step: LocalStep) -> None:
    """What the choreographed order does in the transaction that begins it."""
    tables.create(step)
