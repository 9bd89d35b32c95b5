"""The two sagas of the seeds as definitions: the money transfer, and the order that is reserved, paid and confirmed."""

import datetime as dt

from migration_tools.sagas.definition import LocalStep, Retry, Saga, Step

QUICK = Retry(attempts=3, first=dt.timedelta(milliseconds=20), longest=dt.timedelta(milliseconds=100))
SOON = dt.timedelta(seconds=30)


def nothing(step: LocalStep) -> None:
    """A local step that only the run's own book knows."""


TRANSFER = Saga(
    "transfer",
    stream="transfers",
    steps=(
        Step("debit", command="bank.debit", compensation="bank.undo_debit", replies="bank", retry=QUICK, timeout=SOON),
        Step("credit", command="bank.credit", replies="bank", pivot=True, retry=QUICK, timeout=SOON),
    ),
)

ORDER = Saga(
    "order",
    stream="orders",
    steps=(
        Step("create", local=nothing, undo=nothing),
        Step(
            "reserve",
            command="inventory.reserve",
            compensation="inventory.release",
            replies="inventory",
            retry=QUICK,
            timeout=SOON,
        ),
        Step(
            "pay",
            command="payments.take",
            compensation="payments.refund",
            replies="payments",
            retry=QUICK,
            timeout=SOON,
        ),
        Step("confirm", local=nothing),
    ),
)
