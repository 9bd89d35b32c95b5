"""What the three services of the tests keep, and what their steps do to it, in either kind of saga."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

from django.db import connections

from migration_tools.sagas.definition import Rejected

SERVICES = ("orders", "inventory", "payments")
STREAMS = {name: f"shop_{name}" for name in SERVICES}

TABLES = {
    "orders": "CREATE TABLE shop_order (id uuid PRIMARY KEY, state text NOT NULL, note text NOT NULL DEFAULT '')",
    "inventory": """CREATE TABLE shop_stock (sku text PRIMARY KEY, on_hand int NOT NULL CHECK (on_hand >= 0),
        reserved int NOT NULL DEFAULT 0 CHECK (reserved >= 0))""",
    "payments": "",
}
ACCOUNT = "CREATE TABLE shop_account (name text PRIMARY KEY, balance int NOT NULL, open boolean NOT NULL DEFAULT true)"

#: How often a step is to fail yet, by its name: a test's switch.
trouble: Counter[str] = Counter()


class Asked(Protocol):
    """What local steps and commands have in common."""

    @property
    def saga_id(self) -> str: ...
    @property
    def using(self) -> str: ...


class Broken(RuntimeError):
    """A technical failure."""


def execute(using: str, query: str, *params: Any) -> int:
    """Run a statement; how many rows it touched."""
    with connections[using].cursor() as cursor:
        cursor.execute(query, params)
        return int(cursor.rowcount)


def stumble(name: str) -> None:
    """Fail, if a test wants it."""
    if trouble[name] > 0:
        trouble[name] -= 1
        raise Broken(name)


def create(asked: Asked) -> None:
    stumble("create")
    execute(asked.using, "INSERT INTO shop_order (id, state) VALUES (%s, 'pending')", asked.saga_id)


def cancel(asked: Asked) -> None:
    stumble("cancel")
    execute(asked.using, "UPDATE shop_order SET state = 'cancelled' WHERE id = %s", asked.saga_id)


def confirm(asked: Asked) -> None:
    """The customer may have withdrawn meanwhile: what was read before is read again."""
    execute(asked.using, "UPDATE shop_order SET note = 'seen' WHERE id = %s", asked.saga_id)
    stumble("confirm")
    if not execute(
        asked.using, "UPDATE shop_order SET state = 'confirmed' WHERE id = %s AND state = 'pending'", asked.saga_id
    ):
        raise Rejected("order_withdrawn")


def reserve(asked: Asked, data: Mapping[str, Any]) -> dict[str, Any]:
    taken = execute(
        asked.using,
        "UPDATE shop_stock SET on_hand = on_hand - %s, reserved = reserved + %s WHERE sku = %s AND on_hand >= %s",
        *(data["quantity"], data["quantity"], data["sku"], data["quantity"]),
    )
    stumble("reserve")
    if not taken:
        raise Rejected("out_of_stock")
    return {"shelf": f"shelf of {data['sku']}"}


def release(asked: Asked, data: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    assert result["shelf"] == f"shelf of {data['sku']}"
    execute(
        asked.using,
        "UPDATE shop_stock SET on_hand = on_hand + %s, reserved = reserved - %s WHERE sku = %s",
        *(data["quantity"], data["quantity"], data["sku"]),
    )
    stumble("release")


def take(asked: Asked, data: Mapping[str, Any]) -> None:
    """Commutative, as everything that has no isolation should be: balances are added to, never set."""
    if not withdraw(asked, str(data["customer"]), int(data["amount"])):
        raise Rejected("insufficient_funds")
    stumble("pay")
    execute(asked.using, "UPDATE shop_account SET balance = balance + %s WHERE name = 'shop'", data["amount"])


def refund(asked: Asked, data: Mapping[str, Any]) -> None:
    stumble("refund")
    execute(
        asked.using, "UPDATE shop_account SET balance = balance + %s WHERE name = %s", data["amount"], data["customer"]
    )
    execute(asked.using, "UPDATE shop_account SET balance = balance - %s WHERE name = 'shop'", data["amount"])


def withdraw(asked: Asked, name: str, amount: int) -> bool:
    """Take from an account what it has."""
    query = "UPDATE shop_account SET balance = balance - %s WHERE name = %s AND balance >= %s"
    return bool(execute(asked.using, query, amount, name, amount))
