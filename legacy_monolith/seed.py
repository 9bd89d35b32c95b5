"""Fills an empty shop with deterministic orders, set by set inside PostgreSQL."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from django.contrib.auth.hashers import make_password
from django.db import connection, transaction
from django.db.models import Model

from legacy_monolith.accounts.models import User
from legacy_monolith.catalog.models import Category, Product
from legacy_monolith.inventory.models import Movement, Stock
from legacy_monolith.orders.models import Order, OrderLine
from legacy_monolith.payments.models import Payment

SQL = Path(__file__).parent / "sql" / "seed.sql"
TABLES: tuple[type[Model], ...] = (Category, Product, Stock, User, OrderLine, Order, Payment, Movement)
PASSWORD = "shopper"  # noqa: S105  (of made-up customers)
PRODUCTS = 500
ON_HAND = 10**7


@dataclass(frozen=True, kw_only=True)
class Seeded:
    """What `seed_shop` has made."""

    seed: int
    users: int
    products: int
    orders: int
    lines: int
    payments: int
    movements: int
    password: str
    seconds: float


class ShopNotEmpty(Exception):
    """The shop holds rows already, and the seed would not be the same on top of them."""

    def __init__(self, model: type[Model], rows: int) -> None:
        super().__init__(f"{model._meta.db_table!r} holds {rows!r} rows; empty the shop: manage.py flush")


def seed_shop(orders: int, seed: int) -> Seeded:
    """Make `orders` orders with their customers, products, payments and movements, in one transaction.

    All users (`shopper1@example.com` …) have the password `PASSWORD`. The same arguments make the same rows.

    Raises:
        ShopNotEmpty: there are users, products or orders already; nothing was changed.
    """
    started = time.monotonic()
    users = max(orders // 10, 100)
    parameters = {
        "seed": seed * 1000,
        "users": users,
        "products": PRODUCTS,
        "orders": orders,
        "on_hand": ON_HAND,
        # A fixed salt, for the same rows each time.
        "password": make_password(PASSWORD, salt=f"seed{seed}"),
    }
    with transaction.atomic():
        for model in TABLES:
            if rows := model._default_manager.count():
                raise ShopNotEmpty(model, rows)
        with connection.cursor() as cursor:
            for block in _blocks():
                cursor.execute(block, parameters)
        _move_sequences()
    _analyze()
    return Seeded(
        seed=seed,
        users=users,
        products=PRODUCTS,
        orders=orders,
        lines=OrderLine.objects.count(),
        payments=orders,
        movements=Movement.objects.count(),
        password=PASSWORD,
        seconds=time.monotonic() - started,
    )


def _blocks() -> list[str]:
    """Split the SQL file at its `-- name:` lines."""
    return re.split(r"^-- name: .*$", SQL.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]


def _move_sequences() -> None:
    """Let each identity continue after the ids that the seed has chosen itself."""
    with connection.cursor() as cursor:
        for model in TABLES:
            table = connection.ops.quote_name(model._meta.db_table)
            cursor.execute(
                f"SELECT setval(pg_get_serial_sequence(%s, 'id'), coalesce(max(id), 1), max(id) IS NOT NULL) "  # noqa: S608
                f"FROM {table}",
                [model._meta.db_table],
            )


def _analyze() -> None:
    with connection.cursor() as cursor:
        for model in TABLES:
            cursor.execute(f"ANALYZE {connection.ops.quote_name(model._meta.db_table)}")
