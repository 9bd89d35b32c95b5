"""The audit: ledger against databases, in plain SQL; it trusts neither the toolkit nor the shop."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg

from demo.agreement import connect
from demo.book import Book, Edit, Purchase

Owner = Literal["monolith", "orders"]

QUIET_SECONDS = 30.0
EXAMPLES = 25

OWNED_ORDERS = {
    "monolith": """
        SELECT client_reference, public_id::text, user_id, total::text, status, id
        FROM orders_order WHERE split_part(client_reference, '-', 1) = ANY(%s)""",
    "orders": """
        SELECT reference, public_id::text, customer_id,
            (total_cents::numeric / 100)::numeric(14, 2)::text, state, id
        FROM sales_order WHERE split_part(reference, '-', 1) = ANY(%s)""",
}
OWNED_LINES = {
    "monolith": """
        SELECT o.public_id::text, l.product_id, l.quantity FROM orders_orderline l
        JOIN orders_order o ON o.id = l.order_id WHERE split_part(o.client_reference, '-', 1) = ANY(%s)""",
    "orders": """
        SELECT o.public_id::text, l.product_id, l.qty FROM sales_orderitem l
        JOIN sales_order o ON o.public_id = l.order_public_id
        WHERE split_part(o.reference, '-', 1) = ANY(%s)""",
}
CELLS = {
    ("monolith", "orders_order", "note"): "SELECT id, to_jsonb(note) FROM orders_order WHERE id = ANY(%s)",
    (
        "monolith",
        "orders_order",
        "discount",
    ): "SELECT id, to_jsonb(discount::text) FROM orders_order WHERE id = ANY(%s)",
    (
        "monolith",
        "orders_order",
        "shipping_address",
    ): "SELECT id, shipping_address FROM orders_order WHERE id = ANY(%s)",
    ("monolith", "orders_orderline", "gift_message"): """
        SELECT id, to_jsonb(gift_message) FROM orders_orderline WHERE id = ANY(%s)""",
    ("orders", "orders_order", "note"): "SELECT id, to_jsonb(remark) FROM sales_order WHERE id = ANY(%s)",
    ("orders", "orders_order", "discount"): """
        SELECT id, to_jsonb((discount_cents::numeric / 100)::numeric(14, 2)::text)
        FROM sales_order WHERE id = ANY(%s)""",
    ("orders", "orders_order", "shipping_address"): "SELECT id, ship_to FROM sales_order WHERE id = ANY(%s)",
    ("orders", "orders_orderline", "gift_message"): """
        SELECT id, to_jsonb(gift_note) FROM sales_orderitem WHERE id = ANY(%s)""",
}
LINE_KEYS = {
    "monolith": "SELECT id FROM orders_orderline WHERE id = ANY(%s)",
    "orders": "SELECT id FROM sales_orderitem WHERE id = ANY(%s)",
}


@dataclass(kw_only=True)
class Findings:
    """What the audit found; every entry is a sentence about one write."""

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    resurrected: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicated or self.resurrected or self.wrong)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: how many of each, and the first few."""
        kinds = {"lost": self.lost, "duplicated": self.duplicated}
        kinds |= {"resurrected": self.resurrected, "wrong": self.wrong}
        return {
            "counts": {name: len(sentences) for name, sentences in kinds.items()},
            "examples": {name: sentences[:EXAMPLES] for name, sentences in kinds.items()},
            "checked": dict(sorted(self.checked.items())),
        }


def settled(look: Callable[[], Findings], seconds: float = QUIET_SECONDS) -> Findings:
    """Repeat ``look`` until it finds nothing wrong (events may be on their way), at most ``seconds`` long."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (findings := look()).clean and time.monotonic() < deadline:
        pause.wait(0.5)
    return findings


def audit_owner(book: Book, owner: Owner, dsn: str) -> Findings:
    """Check that every acknowledged write is on the owner's side exactly once, as last acknowledged."""
    findings = Findings()
    with connect(dsn) as connection:
        _check_purchases(book, owner, connection, findings)
        _check_edits(book, owner, connection, findings)
    return findings


def _check_purchases(book: Book, owner: Owner, connection: psycopg.Connection[Any], findings: Findings) -> None:
    runs = sorted({reference.split("-")[0] for reference in book.purchases})
    rows: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for reference, *row in connection.execute(OWNED_ORDERS[owner], [runs]):
        rows[reference].append(tuple(row))
    lines: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for order, product, quantity in connection.execute(OWNED_LINES[owner], [runs]):
        lines[order].append((product, quantity))
    for reference, found in rows.items():
        purchase = book.purchases.get(reference)
        if purchase is None or purchase.refused:
            findings.resurrected.append(f"purchase {reference}: refused or never asked for, yet there: {found}")
        if len(found) > 1:
            findings.duplicated.append(f"purchase {reference}: {len(found)} times: {found}")
    for purchase in book.kept:
        findings.checked["purchases"] += 1
        _check_purchase(purchase, rows.get(purchase.reference, []), lines, findings)


def _check_purchase(
    purchase: Purchase,
    found: list[tuple[Any, ...]],
    lines: dict[str, list[tuple[int, int]]],
    findings: Findings,
) -> None:
    same = [row for row in found if row[0] == purchase.order]
    if not same:
        findings.lost.append(f"purchase {purchase.reference} ({purchase.order}): not there")
        return
    order, user, total, state, _ = same[0]
    if (user, total) != (purchase.user, purchase.total):
        expected = (purchase.user, purchase.total)
        findings.lost.append(f"purchase {purchase.reference}: customer and total {(user, total)}, not {expected}")
    if state not in purchase.states:
        findings.lost.append(f"order {order}: {state!r}, last acknowledged {sorted(purchase.states)}")
    if sorted(lines.get(order, [])) != sorted(purchase.lines):
        findings.lost.append(f"order {order}: lines {sorted(lines.get(order, []))}, not {sorted(purchase.lines)}")


def _check_edits(book: Book, owner: Owner, connection: psycopg.Connection[Any], findings: Findings) -> None:
    gone = book.deleted | book.maybe_deleted
    by_cell: dict[tuple[str, str], dict[int, Edit]] = defaultdict(dict)
    for (table, column, key), edit in book.edits.items():
        if (table, key) not in gone:
            by_cell[table, column][key] = edit
    for (table, column), edits in by_cell.items():
        found = dict(connection.execute(CELLS[owner, table, column], [list(edits)]).fetchall())
        for key, edit in edits.items():
            findings.checked["legacy edits"] += 1
            if key not in found:
                findings.lost.append(f"{table} {key}: not there")
            elif not edit.allows(found[key]):
                findings.lost.append(f"{table} {key} {column}: {found[key]!r}, last acknowledged {edit.value!r}")
    keys = [key for _, key in book.deleted]
    findings.checked["legacy deletes"] += len(keys)
    for (key,) in connection.execute(LINE_KEYS[owner], [keys]):
        findings.resurrected.append(f"line {key}: deleted and acknowledged, yet there")


def fingerprint(dsn: str, owner: Owner, *, upto: int, modulus: int, remainder: int) -> tuple[int, str]:
    """Sum up the seeded orders that nobody touches; equal at the start and at the end of a run."""
    table, columns = {
        "monolith": (
            "orders_order",
            "id, public_id, user_id::bigint, status::text, trim_scale(total * 100),"
            "trim_scale(discount * 100),"
            "currency::text, note, client_reference::text, shipping_address, placed_at, paid_at",
        ),
        "orders": (
            "sales_order",
            "id, public_id, customer_id, state::text, trim_scale(total_cents::numeric),"
            "trim_scale(discount_cents::numeric), currency::text, remark, reference::text, ship_to,"
            "ordered_at, paid_at",
        ),
    }[owner]
    statement = f"""
        SELECT count(*), md5(string_agg(md5(ROW({columns})::text), '' ORDER BY id))
        FROM {table} WHERE id <= %s AND id %% %s <> %s"""  # noqa: S608
    with connect(dsn) as connection:
        count, digest = connection.execute(statement, [upto, modulus, remainder]).fetchone() or (0, "")
    return count, str(digest)


NAMES = {
    "monolith": "SELECT id, first_name || ' ' || last_name FROM accounts_user WHERE id = ANY(%s)",
    "users": "SELECT id, given_name || ' ' || family_name FROM people_person WHERE id = ANY(%s)",
}


def audit_names(book: Book, dsn: str, owner: Literal["monolith", "users"] = "monolith") -> Findings:
    """Check that every customer is called as last acknowledged, in the database of who owns the customers."""
    findings = Findings()
    with connect(dsn) as connection:
        found = dict(connection.execute(NAMES[owner], [list(book.names)]).fetchall())
    for user, edit in book.names.items():
        findings.checked["names of customers"] += 1
        if not edit.allows(found.get(user)):
            findings.lost.append(f"customer {user}: {found.get(user)!r}, last acknowledged {edit.value!r}")
    return findings


def audit_copied_names(book: Book, dsn: str) -> Findings:
    """Check that the orders service calls every customer in every order as last acknowledged."""
    findings = Findings()
    query = "SELECT DISTINCT customer_id, customer_name FROM sales_order WHERE customer_id = ANY(%s)"
    with connect(dsn) as connection:
        found = connection.execute(query, [list(book.names)]).fetchall()
    for user, name in found:
        findings.checked["names in orders"] += 1
        if not book.names[user].allows(name):
            findings.wrong.append(f"orders call customer {user} {name!r}, who is {book.names[user].value!r}")
    return findings


def merge(*parts: Findings) -> Findings:
    """Put several findings together."""
    whole = Findings()
    for part in parts:
        whole.lost += part.lost
        whole.duplicated += part.duplicated
        whole.resurrected += part.resurrected
        whole.wrong += part.wrong
        whole.checked += part.checked
    return whole
