"""Our copy: into an empty service, beside live events, with two workers; and the loop that an ORM would write."""

import time

from django.db import connections

from benchmarks.arena import Arena
from benchmarks.live import running
from benchmarks.measures.ends import open_ends
from benchmarks.measures.verification import ours
from benchmarks.shop.models import Order, ServiceOrder
from migration_tools.transfer.copy import copy_relation, whole_relations

ORM_BATCH = 1_000


def fresh_copy(arena: Arena) -> float:
    """Everything into the empty table, nothing else going on: chunks, exact stops and checkpoints as always."""
    arena.empty()
    return copy(arena.rows)


def copy_with_live_events(arena: Arena) -> tuple[float, float]:
    """The same beside a writer, a relay and a consumer in a process of their own; (seconds, live rows a second)."""
    arena.empty()
    with running(arena) as neighbours:
        seconds = copy(arena.rows)
    _, wrong = ours()
    if wrong:
        raise RuntimeError(f"{wrong} rows differ after a copy beside live events; that must never be")
    arena.undo_writes()
    return seconds, neighbours.written / seconds


def copy(at_least: int) -> float:
    """Copy everything into the service as it is."""
    started = time.perf_counter()
    rows = 0
    with open_ends() as ends:
        for relation in whole_relations(ends.sender, "bench"):
            for chunk in copy_relation(ends, relation, "benchmark"):
                rows += chunk.rows
    seconds = time.perf_counter() - started
    if rows < at_least:
        raise RuntimeError(f"the copy reports {rows} rows of {at_least}")
    return seconds


def orm_loop(arena: Arena, rows: int) -> float:
    """Read `rows` orders with the ORM, map them in Python, bulk_create them in batches: what one writes by hand."""
    arena.empty()
    started = time.perf_counter()
    batch: list[ServiceOrder] = []
    connections["service"].ensure_connection()
    with connections["service"].cursor() as cursor:
        cursor.execute("SET strangle.applying = 'row'")
    for order in Order._default_manager.filter(id__lte=rows).order_by("id").iterator(chunk_size=ORM_BATCH):
        batch.append(_mapped(order))
        if len(batch) == ORM_BATCH:
            ServiceOrder._default_manager.using("service").bulk_create(batch)
            batch = []
    ServiceOrder._default_manager.using("service").bulk_create(batch)
    seconds = time.perf_counter() - started
    connections["service"].close()
    return seconds


def _mapped(order: Order) -> ServiceOrder:
    return ServiceOrder(
        id=order.pk,
        public_id=order.public_id,
        customer_id=order.customer_id,
        customer_name=f"{order.first_name} {order.last_name}",
        state=order.status,
        total_cents=int(order.total * 100),
        discount_cents=int(order.discount * 100) if order.discount is not None else None,
        currency=order.currency,
        remark=order.note,
        reference=order.client_reference,
        ship_to=order.shipping_address,
        ordered_at=order.placed_at,
        paid_at=order.paid_at,
        modified_at=order.updated_at,
        weight=order.weight,
        gift=order.gift,
    )
