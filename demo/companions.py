"""The services that took nothing over: made and started beside the stack, with few processes each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from demo.stores import STATUSES

if TYPE_CHECKING:
    from demo.stack import Stack


@dataclass(frozen=True, kw_only=True)
class Companion:
    """What a service reads, and in which group of handlers."""

    streams: tuple[str, ...] = ()
    group: str = ""


COMPANIONS = {
    "gateway": Companion(streams=("orders", "users", "catalog")),
    "dashboard": Companion(streams=("orders", "users", "catalog", "payments"), group="dashboard"),
    "reference": Companion(),
    "recommendations": Companion(streams=("orders",), group="facts"),
}
STREAMS = ("orders", "users", "catalog", "inventory", "payments")
"""What the monolith's relay numbers for them, whether these contexts are to leave it or not."""


HISTORY = ("users", "catalog")
"""Streams whose owner says once what everything is, for those who keep some of it: seeded rows raised no events."""


CHECKOUTS = {
    "orders": ("inventory", "payments"),
    "inventory": ("orders", "payments"),
    "payments": ("orders", "inventory"),
}
"""Whom each of the three hears while purchases are sagas over them."""


def start_checkouts(stack: Stack) -> None:
    """Let purchases be sagas, where all three services that they go over are there."""
    if not CHECKOUTS.keys() <= set(stack.contexts):
        return
    for name, streams in CHECKOUTS.items():
        settings = ("--group", "checkout", "--settings", f"extracted_services.{name}.settings")
        stack.manage_forever(f"checkouts of {name}", f"{name}_owner", "strangle_consume", *streams, *settings)
    runner = ("strangle_sagas", "run", "--settings", "extracted_services.orders.settings")
    stack.manage_forever("runner of sagas", "orders_owner", *runner)


def start_sweep(stack: Stack) -> None:
    """Let promises that were cut off be given back, where the stock is in documents."""
    if stack.in_documents:
        asked = ("inventory_sweep", "--every", "60", "--settings", "extracted_services.inventory.settings")
        stack.manage_forever("sweep of the stock", "inventory_owner", *asked)


def start_snapshots(stack: Stack) -> None:
    """Let the accounts of payers be read from snapshots, where the payments service is there."""
    if "payments" in stack.contexts:
        # The command's own words end with its task's; what is Django's stands before them.
        asked = ("--settings", "extracted_services.payments.settings", "snapshots", "payer_account", "--every", "60")
        stack.manage_forever("snapshots of payments", "payments_owner", "strangle_event_store", *asked)


def start_companions(stack: Stack) -> None:
    """Make their schemas, and start of each one a web process and its consumers."""
    for name, companion in COMPANIONS.items():
        settings = ("--settings", f"extracted_services.{name}.settings")
        stack.manage("migrate", "-v0", *settings, role=f"{name}_owner")
        stack.start_web(name, workers=1)
        if companion.streams:
            group = ("--group", companion.group) if companion.group else ()
            asked = ("strangle_consume", *companion.streams, *group, *settings)
            stack.manage_forever(f"consumer of {name}", f"{name}_owner", *asked)
    if stack.stores[STATUSES]:
        asked = (
            "strangle_consume",
            "orders",
            "--group",
            "status",
            "--settings",
            "extracted_services.dashboard.settings",
        )
        stack.manage_forever("consumer of statuses", "dashboard_owner", *asked)
    for stream in HISTORY:
        stack.manage("strangle_state_events", stream, role="shop_owner")
    for name in COMPANIONS:
        stack.await_web(name)
