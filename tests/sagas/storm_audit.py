"""What must be true when the storm is over, asked by SQL of the three databases: once, whole, and nothing left."""

import json
from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from tests.services.shop import NAMES, Shop

REST = {
    "orders": """SELECT (SELECT count(*) FROM sales_checkout WHERE state NOT IN ('confirmed', 'cancelled'))
        || ' checkouts are open, ' || (SELECT count(*) FROM saga_state WHERE status IN ('running', 'compensating'))
        || ' sagas run'""",
    "inventory": "SELECT (SELECT count(*) FROM depot_reservation WHERE state = 'held') || ' promises are held'",
    "payments": """SELECT (SELECT count(*) FROM billing_payment WHERE status = 'authorised')
        || ' payments are neither taken nor given back'""",
}
PARKED = "SELECT count(*) || ' events are parked' FROM strangle_dead_letter"
HEAD = "SELECT base + records FROM strangle_tick WHERE stream = %s ORDER BY number DESC LIMIT 1"
BEHIND = "SELECT stream, position FROM strangle_inbox WHERE stream LIKE %s"
CHECKOUTS = """SELECT c.public_id::text, c.state, coalesce(s.status, ''), c.order_number,
        (SELECT count(*) FROM sales_order o WHERE o.public_id = c.public_id)
    FROM sales_checkout c LEFT JOIN saga_state s ON s.saga_id = c.public_id"""
PROMISES = "SELECT order_public_id::text, state FROM depot_reservation WHERE order_public_id IS NOT NULL"
PAYMENTS = "SELECT order_public_id::text, status, count(*) FROM billing_payment GROUP BY 1, 2"
TAKEN = "SELECT payer_id, sum(amount_cents)::bigint FROM billing_payment WHERE status = 'captured' GROUP BY 1"
SHELVES = "SELECT product_id, on_hand, reserved FROM depot_stock"
SOLD = "SELECT product_id, sum(qty)::bigint FROM sales_orderitem GROUP BY 1"
TWICE = """SELECT order_number, reason, product_id FROM depot_movement GROUP BY 1, 2, 3 HAVING count(*) > 1"""
# Of a saga with a conductor: how it ended, by what became of its checkout.
ENDED = {"confirmed": ("", "completed"), "cancelled": ("", "compensated")}


@dataclass(frozen=True, kw_only=True)
class Told:
    """What was agreed with customers and staff: checkout → how it is carried; payer → cents; product → how many."""

    acknowledged: Mapping[str, str]
    withdrawn: AbstractSet[str]
    stocked: Mapping[int, int]
    limits: Mapping[int, int]


def heads(shop: Shop) -> dict[str, int]:
    """How far each service's stream is numbered."""
    return {name: int(shop.one(name, HEAD, name) or 0) for name in NAMES}


def unrest(shop: Shop) -> list[str]:
    """What is still on its way; empty when everything that was begun has ended."""
    found = [str(shop.one(name, query)) for name, query in (*REST.items(), *((name, PARKED) for name in NAMES))]
    left = [part for said in found for part in said.split(", ") if not part.startswith("0 ")]
    ends = heads(shop)
    for name in NAMES:
        for inbox, at in shop.conns[name].execute(BEHIND, ["%@%"]):
            stream = inbox.partition("@")[0]
            if stream in ends and at != ends[stream]:
                left.append(f"{name} has heard {at} of {ends[stream]} of {inbox}")
    return left


def ends(shop: Shop) -> Counter[str]:
    """How many checkouts ended how, by who carried them: with a conductor, or by events."""
    rows = shop.conns["orders"].execute(CHECKOUTS.encode()).fetchall()
    return Counter(f"{'orchestrated' if saga else 'choreographed'} {state}" for _, state, saga, _, _ in rows)


def violations(shop: Shop, told: Told) -> list[str]:
    """All that is wrong; call when there is no unrest."""
    found = shop.faults()
    rows = {row[0]: row[1:] for row in shop.conns["orders"].execute(CHECKOUTS.encode())}
    found += [f"checkout {each} was acknowledged and is gone" for each in told.acknowledged.keys() - rows.keys()]
    promised = dict(shop.conns["inventory"].execute(PROMISES.encode()).fetchall())
    paid: dict[str, Counter[str]] = {}
    for public_id, status, count in shop.conns["payments"].execute(PAYMENTS.encode()):
        paid.setdefault(public_id, Counter())[status] += count
    for public_id, (state, saga, number, orders) in rows.items():
        what = f"checkout {public_id} ({told.acknowledged.get(public_id, 'not acknowledged')}, number {number})"
        if saga not in ENDED.get(state, ()):
            found.append(f"{what} is {state} and its saga {saga}")
        sold = state == "confirmed"
        money, promise = paid.get(public_id, Counter()), promised.get(public_id, "none")
        if sold and public_id in told.withdrawn:
            found.append(f"{what} was withdrawn and is {state}")
        if orders != sold:
            found.append(f"{what} is {state} and has {orders} orders")
        if money != Counter({"captured": 1}) if sold else money not in (Counter(), Counter({"refunded": 1})):
            found.append(f"{what} is {state} and its payments are {dict(money)}")
        if promise != "fulfilled" if sold else promise not in ("none", "released"):
            found.append(f"{what} is {state} and its promise is {promise}")
    found += [f"{each} is of no checkout" for each in (promised.keys() | paid.keys()) - rows.keys()]
    return found + _of_things(shop, told.stocked) + _of_money(shop, told.limits)


def _of_things(shop: Shop, stocked: Mapping[int, int]) -> list[str]:
    sold = dict(shop.conns["orders"].execute(SOLD.encode()).fetchall())
    found = [
        f"product {product}: there were {stocked[product]}, {sold.get(product, 0)} are sold, {left} are left"
        f" and {reserved} promised"
        for product, left, reserved in shop.conns["inventory"].execute(SHELVES.encode())
        if (left, reserved) != (stocked[product] - sold.get(product, 0), 0)
    ]
    return found + [f"movement {row} was made more than once" for row in shop.conns["inventory"].execute(TWICE)]


def _of_money(shop: Shop, limits: Mapping[int, int]) -> list[str]:
    taken: dict[Any, int] = dict(shop.conns["payments"].execute(TAKEN.encode()).fetchall())
    return [
        f"payer {payer} has paid {taken[payer]} of at most {most}"
        for payer, most in limits.items()
        if taken.get(payer, 0) > most
    ]


def listed(found: list[str]) -> str:
    """The first of them, for a message."""
    return json.dumps(found[:10], indent=1) + (f" and {len(found) - 10} more" if len(found) > 10 else "")
