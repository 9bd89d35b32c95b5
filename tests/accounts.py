"""A bank account kept as events, with three versions of its deposits behind it: what the tests of the store work on."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from eventsourcing.domain import Aggregate

from migration_tools.eventstore.store import Aggregates
from migration_tools.eventstore.values import UNKNOWN, Unknown
from migration_tools.messaging.envelope import Envelope
from migration_tools.projections import Latest, Put, ReadModel, Table, on


class InsufficientFunds(Exception):
    """The account holds less than was to be taken from it."""


class BankAccount(Aggregate):
    """An account whose balance is what its events add up to."""

    TOPIC = "account"

    @dataclass(frozen=True)
    class Created(Aggregate.Created):
        TOPIC = "account.opened"
        customer_id: str

    @dataclass(frozen=True)
    class Deposited(Aggregate.Event):
        """Version 1 had an `amount` in cents; 2 a decimal one with its currency; 3 says where it came from."""

        TOPIC = "account.deposited"

        amount: Decimal
        currency: str
        source: str | Unknown
        class_version = 3

        @staticmethod
        def upcast_v1_v2(state: dict[str, Any]) -> None:
            state["amount"] = Decimal(state.pop("cents")) / 100
            state["currency"] = "USD"

        @staticmethod
        def upcast_v2_v3(state: dict[str, Any]) -> None:
            state["source"] = UNKNOWN

        def apply(self, aggregate: Any) -> None:
            aggregate.balance += self.amount

    @dataclass(frozen=True)
    class Withdrawn(Aggregate.Event):
        TOPIC = "account.withdrawn"
        amount: Decimal

        def apply(self, aggregate: Any) -> None:
            aggregate.balance -= self.amount

    def __init__(self, customer_id: str) -> None:
        self.customer_id = customer_id
        self.balance = Decimal(0)

    def deposit(self, amount: int | Decimal, source: str = "cash") -> None:
        self.trigger_event(self.Deposited, amount=Decimal(amount), currency="USD", source=source)

    def withdraw(self, amount: int | Decimal) -> None:
        if self.balance < Decimal(amount):
            raise InsufficientFunds
        self.trigger_event(self.Withdrawn, amount=Decimal(amount))


class Purse(Aggregate):
    """What accounts are copied into: one kind of event for both ways."""

    TOPIC = "purse"

    @dataclass(frozen=True)
    class Created(Aggregate.Created):
        TOPIC = "purse.made"
        owner: str

    @dataclass(frozen=True)
    class Moved(Aggregate.Event):
        TOPIC = "purse.moved"
        by: Decimal

        def apply(self, aggregate: Any) -> None:
            aggregate.holds += self.by

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.holds = Decimal(0)


ACCOUNTS: Aggregates[BankAccount] = Aggregates(BankAccount, aggregate_type="account", stream="ledger")
PURSES: Aggregates[Purse] = Aggregates(Purse, aggregate_type="purse", stream="ledger")


def opened(*amounts: int) -> UUID:
    """Store an account with these deposits, withdrawals where negative."""
    account = BankAccount(customer_id="cust-456")
    for amount in amounts:
        if amount >= 0:
            account.deposit(amount)
        else:
            account.withdraw(-amount)
    ACCOUNTS.save(account)
    return account.id


def as_purse(event: Any) -> Any:
    """What an event of an account becomes in a purse."""
    match event:
        case BankAccount.Created():
            yield Purse.Created, {"owner": event.customer_id}
        case BankAccount.Deposited():
            yield Purse.Moved, {"by": event.amount}
        case BankAccount.Withdrawn():
            yield Purse.Moved, {"by": -event.amount}


class Balances(ReadModel):
    """Deposits by account, from the events that the store publishes."""

    name = "balances"
    tables: ClassVar = (
        Table(name="deposit", key={"account": "uuid", "number": "bigint"}, source="ledger",
              columns={"amount": Latest("numeric"), "currency": Latest("text")}),
    )  # fmt: skip

    @on("account.deposited", stream="ledger", versions=(3, 3))
    def deposited(self, event: Envelope) -> Any:
        said = event.payload
        key = {"account": said["aggregate_id"], "number": said["aggregate_version"]}
        return [Put("deposit", key, {"amount": said["amount"], "currency": said["currency"]})]
