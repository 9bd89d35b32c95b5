"""What the staff was acknowledged must be where the context is now, once, and in the copy that orders keep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from demo.agreement import connect
from demo.audit import Findings
from demo.ledger import ACKNOWLEDGED, INTENT

PRODUCTS = {
    "monolith": "SELECT id, price::text FROM catalog_product WHERE id = ANY(%s)",
    "catalog": """SELECT id, (price_cents::numeric / 100)::numeric(14, 2)::text
        FROM shelf_product WHERE id = ANY(%s)""",
    "orders": """SELECT id, (price_cents::numeric / 100)::numeric(14, 2)::text
        FROM sales_product WHERE id = ANY(%s)""",
}

DELIVERED = {
    "monolith": """SELECT product_id, count(*), sum(delta) FROM inventory_movement
        WHERE reason = 'received' AND created_at > '2020-01-01' GROUP BY product_id""",
    "inventory": """SELECT product_id, count(*), sum(quantity) FROM depot_movement
        WHERE reason = 'received' AND moved_at > '2020-01-01' GROUP BY product_id""",
}

Entries = Iterable[dict[str, Any]]


def audit_products(entries: Entries, place: str, dsn: str) -> Findings:
    """Check that every product is priced as last acknowledged, in this place."""
    findings = Findings()
    allowed: dict[int, list[str]] = defaultdict(list)
    open_intents: dict[int, dict[str, Any]] = {}
    for entry in entries:
        if entry["kind"] == INTENT and entry["operation"] == "product":
            open_intents[entry["number"]] = entry
            allowed[entry["product"]].append(entry["price"])
        elif entry["kind"] == ACKNOWLEDGED and entry["number"] in open_intents:
            intent = open_intents.pop(entry["number"])
            allowed[intent["product"]] = [intent["price"]]
    with connect(dsn) as connection:
        found = dict(connection.execute(PRODUCTS[place], [list(allowed)]).fetchall())
    for product, values in allowed.items():
        findings.checked[f"products ({place})"] += 1
        if found.get(product) not in values:
            findings.lost.append(f"product {product} ({place}): {found.get(product)}, last acknowledged {values}")
    return findings


def audit_deliveries(entries: Entries, place: str, dsn: str) -> Findings:
    """Check that every delivery was added to the stock once: as many of each product, and as much."""
    findings = Findings()
    intents: dict[int, dict[str, Any]] = {}
    sure: dict[int, list[int]] = defaultdict(list)
    for entry in entries:
        if entry["kind"] == INTENT and entry["operation"] == "delivery":
            intents[entry["number"]] = entry
        elif entry["kind"] == ACKNOWLEDGED and entry["number"] in intents:
            intent = intents.pop(entry["number"])
            sure[intent["product"]].append(intent["quantity"])
    unsure: dict[int, list[int]] = defaultdict(list)
    for intent in intents.values():
        unsure[intent["product"]].append(intent["quantity"])
    with connect(dsn) as connection:
        found = {row[0]: (row[1], row[2]) for row in connection.execute(DELIVERED[place])}
    for product in sure.keys() | unsure.keys() | found.keys():
        count, total = found.get(product, (0, 0))
        known, maybe = sure[product], unsure[product]
        findings.checked["deliveries"] += len(known)
        if count < len(known) or total < sum(known):
            findings.lost.append(f"deliveries of product {product}: {count} of {total}, acknowledged {known}")
        elif count > len(known) + len(maybe) or total > sum(known) + sum(maybe):
            findings.duplicated.append(f"deliveries of product {product}: {count} of {total}, acknowledged {known}")
    return findings
