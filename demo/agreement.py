"""Agreement: both sides compared row by row and column by column, by SQL that the toolkit has no part in."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

SETTLE_SECONDS = 20.0
SETTLE_EVERY_SECONDS = 0.3


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side's half of a comparison: where rows come from, and an expression per column."""

    source: str
    key: str
    columns: dict[str, str]

    @property
    def digests(self) -> str:
        values = ", ".join(self.columns.values())
        return f"SELECT {self.key}, md5(ROW({values})::text) FROM {self.source}"  # noqa: S608

    @property
    def rows(self) -> str:
        values = ", ".join(f"({column})::text" for column in self.columns.values())
        return f"SELECT {self.key}, {values} FROM {self.source} WHERE {self.key} = ANY(%s)"  # noqa: S608


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A table of the monolith and the table of the service that must say the same."""

    name: str
    shop: Side
    service: Side


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One key on which the sides do not agree; a side without the row has None."""

    table: str
    key: int
    fields: dict[str, tuple[str | None, str | None]]
    missing_from: str = ""

    def __str__(self) -> str:
        what = f"missing from {self.missing_from}" if self.missing_from else str(self.fields)
        return f"{self.table} {self.key}: {what}"


ORDERS = Comparison(
    name="order",
    shop=Side(
        source="orders_order o JOIN accounts_user u ON u.id = o.user_id",
        key="o.id",
        columns={
            "public_id": "o.public_id",
            "customer_id": "o.user_id::bigint",
            "customer_name": "u.first_name || ' ' || u.last_name",
            "state": "o.status::text",
            "total_cents": "trim_scale(o.total * 100)",
            "discount_cents": "trim_scale(o.discount * 100)",
            "currency": "o.currency::text",
            "remark": "o.note::text",
            "reference": "o.client_reference::text",
            "ship_to": "o.shipping_address",
            "ordered_at": "o.placed_at",
            "paid_at": "o.paid_at",
            "modified_at": "o.updated_at",
        },
    ),
    service=Side(
        source="sales_order o",
        key="o.id",
        columns={
            "public_id": "o.public_id",
            "customer_id": "o.customer_id",
            "customer_name": "o.customer_name",
            "state": "o.state::text",
            "total_cents": "trim_scale(o.total_cents::numeric)",
            "discount_cents": "trim_scale(o.discount_cents::numeric)",
            "currency": "o.currency::text",
            "remark": "o.remark::text",
            "reference": "o.reference::text",
            "ship_to": "o.ship_to",
            "ordered_at": "o.ordered_at",
            "paid_at": "o.paid_at",
            "modified_at": "o.modified_at",
        },
    ),
)

LINES = Comparison(
    name="line",
    shop=Side(
        source="orders_orderline l JOIN orders_order o ON o.id = l.order_id",
        key="l.id",
        columns={
            "order": "o.public_id",
            "product": "l.product_id::bigint",
            "quantity": "l.quantity",
            "unit_cents": "trim_scale(l.unit_price * 100)",
            "gift_note": "l.gift_message::text",
        },
    ),
    service=Side(
        source="sales_orderitem l",
        key="l.id",
        columns={
            "order": "l.order_public_id",
            "product": "l.product_id",
            "quantity": "l.qty",
            "unit_cents": "trim_scale(l.unit_cents::numeric)",
            "gift_note": "l.gift_note::text",
        },
    ),
)

PRODUCTS = Comparison(
    name="product",
    shop=Side(
        source="catalog_product p",
        key="p.id",
        columns={
            "sku": "p.sku::text",
            "name": "p.name::text",
            "price_cents": "trim_scale(p.price * 100)",
            "currency": "p.currency::text",
            "active": "p.active",
        },
    ),
    service=Side(
        source="sales_product p",
        key="p.id",
        columns={
            "sku": "p.sku::text",
            "name": "p.name::text",
            "price_cents": "trim_scale(p.price_cents::numeric)",
            "currency": "p.currency::text",
            "active": "p.active",
        },
    ),
)
"""The catalogue stays with the monolith; the service has a replica."""

COMPARISONS = (ORDERS, LINES, PRODUCTS)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What a comparison of both sides came to."""

    rows: int
    differences: list[Difference]
    seconds: float

    @property
    def complete(self) -> bool:
        return not self.differences


def compare(
    shop_dsn: str,
    service_dsn: str,
    *,
    settle_seconds: float = SETTLE_SECONDS,
    comparisons: Sequence[Comparison] = COMPARISONS,
) -> Agreement:
    """Compare every row of both sides.

    Traffic may go on: a row that differs is read again from both sides until it agrees, so a change on its
    way is no difference, while one that stays for ``settle_seconds`` is.
    """
    started = time.monotonic()
    rows = 0
    found: list[Difference] = []
    with connect(shop_dsn) as shop, connect(service_dsn) as service:
        suspects: dict[str, set[int]] = {}
        for comparison in comparisons:
            left = dict(shop.execute(comparison.shop.digests).fetchall())
            right = dict(service.execute(comparison.service.digests).fetchall())
            rows += len(left)
            suspects[comparison.name] = {key for key, _ in left.items() ^ right.items()}
        for comparison in comparisons:
            found += _settle(comparison, suspects[comparison.name], shop, service, settle_seconds)
    return Agreement(rows=rows, differences=found, seconds=time.monotonic() - started)


def connect(dsn: str) -> psycopg.Connection[Any]:
    """Connect so that the same value is the same text on both sides."""
    return psycopg.connect(dsn, autocommit=True, options="-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres")


def _settle(
    comparison: Comparison,
    suspects: set[int],
    shop: psycopg.Connection[Any],
    service: psycopg.Connection[Any],
    seconds: float,
) -> list[Difference]:
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        differences = _differences(comparison, suspects, shop, service)
        if not differences or time.monotonic() > deadline:
            return differences
        suspects = {difference.key for difference in differences}
        pause.wait(SETTLE_EVERY_SECONDS)


def _differences(
    comparison: Comparison,
    suspects: Iterable[int],
    shop: psycopg.Connection[Any],
    service: psycopg.Connection[Any],
) -> list[Difference]:
    keys = sorted(suspects)
    left = {row[0]: row[1:] for row in shop.execute(comparison.shop.rows, [keys])}
    right = {row[0]: row[1:] for row in service.execute(comparison.service.rows, [keys])}
    found = []
    for key in keys:
        ours, theirs = left.get(key), right.get(key)
        if ours == theirs:
            continue
        if ours is None or theirs is None:
            missing = "monolith" if ours is None else "service"
            found.append(Difference(table=comparison.name, key=key, fields={}, missing_from=missing))
            continue
        fields = {
            name: (mine, other)
            for name, mine, other in zip(comparison.shop.columns, ours, theirs, strict=True)
            if mine != other
        }
        found.append(Difference(table=comparison.name, key=key, fields=fields))
    return found
