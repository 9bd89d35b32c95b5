"""The demo's audit and planter: every kind of damage is seen, and nothing is reported that is not there."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from demo import ledger
from demo.agreement import compare
from demo.audit import Findings, audit_names, audit_owner, fingerprint, merge
from demo.book import Book, fold
from demo.consequences import audit_payments
from demo.ledger import Ledger
from demo.plant import Planted, plant, score
from tests.conftest import Cluster, Pair, cloned_pair

SEEDED = 700
COPY_ORDERS = """
    SELECT o.id, o.public_id, o.user_id, u.first_name || ' ' || u.last_name, o.status,
        (o.total * 100)::bigint, (o.discount * 100)::bigint, o.currency, o.note, o.client_reference,
        o.shipping_address, o.placed_at, o.paid_at, o.updated_at
    FROM orders_order o JOIN accounts_user u ON u.id = o.user_id"""
COPY_LINES = """
    SELECT l.id, o.public_id, l.product_id, l.quantity, (l.unit_price * 100)::bigint, l.gift_message
    FROM orders_orderline l JOIN orders_order o ON o.id = l.order_id"""


COPY_PRODUCTS = """
    SELECT id, sku, name, (price * 100)::bigint, currency, active FROM catalog_product"""


@pytest.fixture(scope="module")
def seeded(cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any) -> Iterator[Pair]:
    """A pair with a seeded shop, which each test clones."""
    with cloned_pair(cluster, templates, django_db_blocker) as made:
        done = made.manage("shop_seed", "--orders", str(SEEDED), "--seed", "5")
        assert done.returncode == 0, done.stderr
        yield made


@pytest.fixture
def dsns(cluster: Cluster, seeded: Pair, django_db_blocker: Any) -> Iterator[tuple[str, str]]:
    with cloned_pair(cluster, (seeded.shop, seeded.orders), django_db_blocker) as pair:
        yield cluster.dsn(pair.shop), cluster.dsn(pair.orders)


@pytest.fixture
def shop(dsns: tuple[str, str]) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsns[0], autocommit=True) as connection:
        yield connection


@pytest.fixture
def service(dsns: tuple[str, str]) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsns[1], autocommit=True) as connection:
        yield connection


@pytest.fixture
def copied(shop: psycopg.Connection[Any], service: psycopg.Connection[Any]) -> None:
    """The service holds what the monolith holds, copied by nothing but COPY."""
    for statement, table, columns in (
        (COPY_ORDERS, "sales_order", "id, public_id, customer_id, customer_name, state, total_cents,"
         "discount_cents, currency, remark, reference, ship_to, ordered_at, paid_at, modified_at"),
        (COPY_PRODUCTS, "sales_product", "id, sku, name, price_cents, currency, active"),
        (COPY_LINES, "sales_orderitem", "id, order_public_id, product_id, qty, unit_cents, gift_note"),
    ):  # fmt: skip
        with (
            shop.cursor().copy(f"COPY ({statement}) TO STDOUT") as source,
            service.cursor().copy(f"COPY {table} ({columns}) FROM STDIN") as target,
        ):
            for block in source:
                target.write(block)


@pytest.fixture
def book(shop: psycopg.Connection[Any], tmp_path: Path) -> Book:
    """Three purchases, an edit and a deletion, made by SQL and entered as the traffic would."""
    with Ledger(tmp_path / "ledger.jsonl") as written:
        for number, state in enumerate(("placed", "shipped", "cancelled"), 1):
            order, user, lines = buy(shop, f"run-s1-1-{number}", state)
            intent = written.intent("purchase", reference=f"run-s1-1-{number}", user=user, lines=lines)
            written.acknowledge(intent, order=order, total="30.00", state=state)
        edit = written.intent("edit", table="orders_order", column="discount", values={10: "1.50"})
        shop.execute("UPDATE orders_order SET discount = 1.5 WHERE id = 10")
        written.acknowledge(edit)
        shop.execute("DELETE FROM orders_orderline WHERE id = 20")
        written.acknowledge(written.intent("delete", table="orders_orderline", keys=[20]))
        written.acknowledge(written.intent("rename", user=user, name="Zoë O'Brien"))
        shop.execute("UPDATE accounts_user SET first_name = 'Zoë', last_name = 'O''Brien' WHERE id = %s", [user])
    return fold(ledger.read(tmp_path / "ledger.jsonl"))


def buy(shop: psycopg.Connection[Any], reference: str, state: str) -> tuple[str, int, list[tuple[int, int]]]:
    (user,) = shop.execute("SELECT min(id) FROM accounts_user").fetchone() or (0,)
    (product,) = shop.execute("SELECT min(id) FROM catalog_product").fetchone() or (0,)
    key, order = shop.execute(
        "INSERT INTO orders_order (public_id, user_id, status, total, currency, client_reference,"
        " shipping_address, placed_at, updated_at) VALUES"
        " (gen_random_uuid(), %s, %s, 30, 'EUR', %s, '{}', now(), now())"
        " RETURNING id, public_id::text", [user, state, reference],
    ).fetchone() or (0, "")  # fmt: skip
    shop.execute(
        "INSERT INTO orders_orderline (order_id, product_id, quantity, unit_price) VALUES (%s, %s, 3, 10)",
        [key, product],
    )
    moves = [("ordered", -3)] + ([("cancelled", 3)] if state == "cancelled" else [])
    for reason, delta in moves:
        shop.execute(
            "INSERT INTO inventory_movement (product_id, order_id, delta, reason, created_at)"
            " VALUES (%s, %s, %s, %s, now())", [product, key, delta, reason],
        )  # fmt: skip
        shop.execute("UPDATE inventory_stock SET on_hand = on_hand + %s WHERE product_id = %s", [delta, product])
    paid = {"placed": "authorised", "shipped": "captured", "cancelled": "refunded"}[state]
    shop.execute(
        "INSERT INTO payments_payment (order_id, amount, status, created_at, updated_at)"
        " VALUES (%s, 30, %s, now(), now())", [key, paid],
    )  # fmt: skip
    return order, user, [(product, 3)]


def audit(book: Book, dsns: tuple[str, str]) -> Findings:
    return merge(audit_owner(book, "monolith", dsns[0]), audit_names(book, dsns[0]), audit_payments(book, dsns[0]))


def test_an_honest_shop_is_found_clean(book: Book, dsns: tuple[str, str]) -> None:
    findings = audit(book, dsns)
    assert findings.clean, findings
    assert findings.checked["purchases"] == findings.checked["payments"] == 3
    assert findings.checked["legacy edits"] == findings.checked["legacy deletes"] == 1


ORDER = "(SELECT id FROM orders_order WHERE client_reference = 'run-s1-1-2')"
"""What ``{order}`` stands for in the damages below."""


@pytest.mark.parametrize(
    ("damage", "kind", "count"),
    [
        ("UPDATE orders_order SET client_reference = 'x' WHERE id = {order}", "lost", 1),
        ("UPDATE orders_order SET status = 'paid' WHERE id = {order}", "lost", 1),
        ("UPDATE orders_order SET total = 30.01 WHERE id = {order}", "lost", 1),
        ("DELETE FROM orders_orderline WHERE order_id = {order}", "lost", 1),
        ("UPDATE orders_orderline SET quantity = 4 WHERE order_id = {order}", "lost", 1),
        ("UPDATE orders_order SET discount = NULL WHERE id = 10", "lost", 1),
        ("UPDATE accounts_user SET first_name = 'Zoe' WHERE first_name = 'Zoë'", "lost", 1),
        ("DELETE FROM payments_payment WHERE order_id = {order}", "lost", 1),
        ("UPDATE orders_order SET client_reference = 'run-s1-1-2' WHERE id = 11", "duplicated", 1),
        ("UPDATE orders_order SET client_reference = 'run-s1-1-9' WHERE id = 11", "resurrected", 1),
        ("UPDATE orders_orderline SET id = 20 WHERE id = 21", "resurrected", 1),
        (
            "INSERT INTO payments_payment (order_id, amount, status, created_at, updated_at)"
            " VALUES ({order}, 30, 'captured', now(), now())",
            "duplicated",
            1,
        ),
        ("UPDATE payments_payment SET status = 'authorised' WHERE order_id = {order}", "wrong", 1),
        (
            "WITH again AS (INSERT INTO inventory_movement (product_id, order_id, delta, reason, created_at)"
            " SELECT product_id, order_id, delta, reason, now() FROM inventory_movement"
            " WHERE order_id = {order}"
            " RETURNING product_id, delta) UPDATE inventory_stock s SET on_hand = on_hand + again.delta"
            " FROM again WHERE s.product_id = again.product_id",
            "wrong",
            1,
        ),
        (
            "UPDATE inventory_stock SET on_hand = on_hand + 1 WHERE product_id = (SELECT min(id) FROM catalog_product)",
            "wrong",
            1,
        ),
    ],
)
def test_damage_is_found(
    book: Book, dsns: tuple[str, str], shop: psycopg.Connection[Any], damage: str, kind: str, count: int
) -> None:
    shop.execute(damage.replace("{order}", ORDER))
    findings = audit(book, dsns)
    counts = {name: len(getattr(findings, name)) for name in ("lost", "duplicated", "resurrected", "wrong")}
    assert counts == {"lost": 0, "duplicated": 0, "resurrected": 0, "wrong": 0} | {kind: count}, findings


def test_the_service_is_audited_by_the_same_promises(book: Book, copied: None, dsns: tuple[str, str]) -> None:
    findings = audit_owner(book, "orders", dsns[1])
    assert findings.clean, findings
    with psycopg.connect(dsns[1], autocommit=True) as service:
        service.execute("UPDATE sales_order SET state = 'placed' WHERE reference = 'run-s1-1-3'")
        service.execute("UPDATE sales_order SET discount_cents = 151 WHERE id = 10")
    assert len(audit_owner(book, "orders", dsns[1]).lost) == 2


def test_sides_that_say_the_same_agree(copied: None, dsns: tuple[str, str]) -> None:
    agreement = compare(*dsns, settle_seconds=0)
    assert agreement.complete, agreement.differences[:3]
    assert agreement.rows > 2 * SEEDED
    assert fingerprints(dsns)[0] == fingerprints(dsns)[1]


def test_every_planted_corruption_is_a_difference_and_nothing_else_is(copied: None, dsns: tuple[str, str]) -> None:
    planted = plant(dsns[1], count=24, seed=1, upto=SEEDED)
    assert len({each.kind for each in planted}) >= 10
    found = {(difference.table, str(difference.key)) for difference in compare(*dsns, settle_seconds=0).differences}
    assert len(found) == len(planted)
    for each in planted:
        assert any((each.table, key) in found for key in each.keys), each
    assert fingerprints(dsns)[0] != fingerprints(dsns)[1]


def test_a_report_is_scored_by_what_it_found_missed_and_made_up(tmp_path: Path) -> None:
    planted = [
        Planted(table="order", kind="amount", keys=frozenset({"5", "u-5"})),
        Planted(table="order", kind="missing", keys=frozenset({"6", "u-6"})),
        Planted(table="line", kind="orphan", keys=frozenset({"5"})),
    ]
    report = tmp_path / "report.json"
    differences = [
        {"table": "sales_order", "key": {"public_id": "u-5"}, "class": "changed", "fields": ["total_cents"]},
        {"table": "sales_orderitem", "key": [5], "class": "extra", "fields": []},
        {"table": "sales_order", "key": "7", "class": "changed", "fields": ["remark"]},
    ]
    report.write_text(json.dumps({"differences": differences}))
    result = score(planted, report)
    assert (result.planted, result.found, result.false_alarms) == (3, 2, 1)
    assert [each.kind for each in result.missed] == ["missing"]


def fingerprints(dsns: tuple[str, str]) -> tuple[tuple[int, str], tuple[int, str]]:
    return (
        fingerprint(dsns[0], "monolith", upto=SEEDED, modulus=7, remainder=3),
        fingerprint(dsns[1], "orders", upto=SEEDED, modulus=7, remainder=3),
    )
