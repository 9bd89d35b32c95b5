"""The audit: the traffic's own ledger against oscar's rows, and both sides against each other, in plain SQL."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from demo.audit import Findings

Connection = psycopg.Connection[Any]
WITHHELD = {("auth_user", "password")}
"""Columns that a copy does not get."""


@dataclass(kw_only=True)
class Book:
    """What the people of a run did and were told, folded from the ledger."""

    placed: dict[str, dict[str, Any]] = field(default_factory=dict)
    moved: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    notes: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    unsure: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0


def fold(entries: Iterable[dict[str, Any]]) -> Book:
    """Read the ledger: intents that were never answered are unsure, by operation and subject."""
    book, waiting = Book(), {}
    for entry in entries:
        if entry["kind"] == "intent":
            waiting[entry["number"]] = entry
            continue
        intent = waiting.pop(entry["number"])
        book.acknowledged += 1
        match intent["operation"]:
            case "place":
                book.placed[entry["order"]] = intent
            case "status":
                book.moved[intent["order"]].append(intent["to"])
            case "note":
                book.notes[intent["text"]] = intent["order"]
            case "unnote":
                book.gone.add(intent["text"])
    for intent in waiting.values():
        book.unsure[f"{intent['operation']} {intent.get('order') or intent.get('customer')}"] += 1
    return book


def audit_orders(book: Book, owner: Connection, oscar: Connection, run: str) -> Findings:
    """Each acknowledged order, change of state and note is there once, as acknowledged; and nothing else of this run.

    Oscar's other tables agree: a basket is submitted once, and the stock allocated is what the orders' lines say.
    """
    findings = Findings()
    users = dict(oscar.execute("SELECT id, email FROM auth_user WHERE email LIKE %s", [f"{run}-%"]).fetchall())
    orders: dict[str, list[Any]] = defaultdict(list)
    for number, *rest in owner.execute(
        "SELECT number, user_id, status, basket_id FROM order_order WHERE user_id = ANY (%s)", [list(users)]
    ).fetchall():
        orders[number].append(rest)
    lines: dict[str, list[Any]] = defaultdict(list)
    for number, title, quantity in owner.execute(
        "SELECT o.number, l.title, l.quantity FROM order_line l JOIN order_order o ON o.id = l.order_id"
    ).fetchall():
        lines[number].append((title, quantity))
    changes: dict[str, list[str]] = defaultdict(list)
    for number, status in owner.execute(
        "SELECT o.number, c.new_status FROM order_orderstatuschange c JOIN order_order o ON o.id = c.order_id "
        "ORDER BY c.id"
    ).fetchall():
        changes[number].append(status)
    notes = Counter(owner.execute("SELECT message FROM order_ordernote WHERE message LIKE 'note %'").fetchall())
    for number, intent in book.placed.items():
        findings.checked["orders"] += 1
        found = orders.get(number, [])
        if len(found) != 1:
            (findings.duplicated if found else findings.lost).append(f"order {number} is there {len(found)} times")
            continue
        user, status, basket = found[0]
        if users.get(user) != intent["customer"]:
            findings.wrong.append(f"order {number} belongs to {users.get(user)}, not {intent['customer']}")
        if lines[number] != [(intent["title"], intent["quantity"])]:
            findings.wrong.append(f"order {number} has the lines {lines[number]}")
        if book.unsure[f"status {number}"]:
            continue
        moved = book.moved.get(number, [])
        findings.checked["changes of state"] += len(moved)
        if changes[number] != moved or status != (moved[-1] if moved else "Pending"):
            findings.lost.append(f"order {number} is {status!r} by {changes[number]}; acknowledged were {moved}")
        if oscar.execute("SELECT status FROM basket_basket WHERE id = %s", [basket]).fetchall() != [("Submitted",)]:
            findings.wrong.append(f"the basket of order {number} is not submitted")
    for number, found in orders.items():
        if number not in book.placed and not book.unsure[f"place {users[found[0][0]]}"]:
            findings.duplicated.append(f"order {number} was never acknowledged to anybody")
    for text, number in book.notes.items():
        findings.checked["notes"] += 1
        there, unsure = notes[(text,)], book.unsure[f"unnote {number}"]
        if text in book.gone and there:
            findings.resurrected.append(f"note {text!r} of order {number} was taken away")
        elif text not in book.gone and there != 1 and not unsure:
            (findings.duplicated if there else findings.lost).append(f"note {text!r} of order {number}: {there} times")
    sold = owner.execute("SELECT sum(quantity) FROM order_line").fetchone()
    allocated = oscar.execute("SELECT sum(num_allocated) FROM partner_stockrecord").fetchone()
    if sold != allocated:
        findings.wrong.append(f"{allocated} pieces of stock are allocated, and the orders' lines say {sold}")
    return findings


def differences(one: Connection, other: Connection, tables: Iterable[str]) -> tuple[int, list[str]]:
    """Rows compared, and a sentence for each that is not the same on both sides."""
    compared, found = 0, []
    for table in tables:
        columns, key = _columns(one, table)
        sides = [_rows(conn, table, columns, key) for conn in (one, other)]
        compared += max(map(len, sides))
        found += [f"{table} {row}" for row in sorted(dict(sides[0].items() ^ sides[1].items()))]
    return compared, found


def _columns(conn: Connection, table: str) -> tuple[list[str], str]:
    rows = conn.execute(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped "
        "ORDER BY attname",
        [table],
    ).fetchall()
    (key,) = conn.execute(
        "SELECT attname::text FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0] "
        "WHERE indrelid = %s::regclass AND indisprimary",
        [table],
    ).fetchone() or ("id",)
    return [name for (name,) in rows if (table, name) not in WITHHELD], key


def _rows(conn: Connection, table: str, columns: list[str], key: str) -> dict[str, str]:
    query = sql.SQL("SELECT {}::text, md5(ROW({})::text) FROM {}").format(
        sql.Identifier(key), sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(table)
    )
    return dict(conn.execute(query).fetchall())
