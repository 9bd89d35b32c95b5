"""The account of a payer, kept as events: what was captured from them and given back; the balance is their sum."""

import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from eventsourcing.domain import Aggregate

from migration_tools.eventstore.store import Aggregates

NAMESPACE = uuid.UUID("0a0a6b7e-5f0c-4f0f-8b52-0c9be5a6f3d1")


class OverLimit(Exception):
    """The payer would have paid more than they may; nothing was entered."""


class Account(Aggregate):
    """What the shop holds of one payer's money; `payer` is None for orders of before, whose payer nobody noted.

    Entries are amounts with two digits, in the shop's one currency of account.
    """

    TOPIC = "payer_account"

    @dataclass(frozen=True)
    class Created(Aggregate.Created):
        TOPIC = "payer_account.opened"
        payer: int | None

    @dataclass(frozen=True)
    class Carried(Aggregate.Event):
        """What somebody else captured or gave back: the monolith, while it owned the payments. May be negative."""

        TOPIC = "payer_account.carried"
        payer: int | None
        amount: Decimal

        def apply(self, aggregate: Any) -> None:
            aggregate.balance += self.amount

    @dataclass(frozen=True)
    class Captured(Aggregate.Event):
        TOPIC = "payer_account.captured"
        payer: int | None
        order: int
        amount: Decimal

        def apply(self, aggregate: Any) -> None:
            aggregate.balance += self.amount

    @dataclass(frozen=True)
    class Refunded(Aggregate.Event):
        TOPIC = "payer_account.refunded"
        payer: int | None
        order: int
        amount: Decimal

        def apply(self, aggregate: Any) -> None:
            aggregate.balance -= self.amount

    @dataclass(frozen=True)
    class Limited(Aggregate.Event):
        """How much the shop may hold of the payer's from now on; None: as much as they buy for."""

        TOPIC = "payer_account.limited"
        payer: int | None
        most: Decimal | None

        def apply(self, aggregate: Any) -> None:
            aggregate.most = self.most

    @staticmethod
    def create_id(payer: int | None) -> uuid.UUID:
        """The account of a payer is found without a table: its id follows from theirs."""
        return uuid.uuid5(NAMESPACE, f"payer {payer}")

    def __init__(self, payer: int | None) -> None:
        self.payer = payer
        self.balance = Decimal(0)
        self.most: Decimal | None = None

    def carry(self, amount: Decimal) -> None:
        """Enter what was captured elsewhere."""
        self.trigger_event(self.Carried, payer=self.payer, amount=amount)

    def capture(self, order: int, amount: Decimal) -> None:
        """Enter a payment that was captured."""
        self.trigger_event(self.Captured, payer=self.payer, order=order, amount=amount)

    def capture_within_limit(self, order: int, amount: Decimal) -> None:
        """The same, unless it were more than the payer may pay.

        Raises:
            OverLimit: it would be.
        """
        if self.most is not None and self.balance + amount > self.most:
            raise OverLimit(f"payer {self.payer} may pay {self.most}, has paid {self.balance}, and was to pay {amount}")
        self.capture(order, amount)

    def refund(self, order: int, amount: Decimal) -> None:
        """Enter a payment that was given back."""
        self.trigger_event(self.Refunded, payer=self.payer, order=order, amount=amount)

    def limit(self, most: Decimal | None) -> None:
        """Say how much the payer may pay."""
        self.trigger_event(self.Limited, payer=self.payer, most=most)


ACCOUNTS: Aggregates[Account] = Aggregates(Account, aggregate_type="payer_account", stream="payments")
