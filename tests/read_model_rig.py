"""Streams of users, catalogue and orders in one database, with the dashboard's read models beside them."""

import datetime as dt
import random
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from django.db import connections, transaction

from extracted_services.dashboard import read_models as dashboard
from migration_tools.capture.projector import RelationProjector
from migration_tools.messaging import outbox
from migration_tools.messaging.batch import Batch
from migration_tools.messaging.consumer import Consumer
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handling import handle
from migration_tools.messaging.relay import tick
from migration_tools.projections import ReadModel
from migration_tools.projections.layout import install
from migration_tools.projections.registry import register
from migration_tools.stores.postgres import connect, django_connection
from migration_tools.testing.deliveries import sample
from tests.stage import DirectFeed

STREAMS = ("users", "catalog", "orders")
VIEWS = ("order_summary", "order_details_view", "user_orders_view", "feed")
AGGREGATES = {"users": "user", "catalog": "product", "orders": "order"}
MODELS = (dashboard.OrderSummary, dashboard.OrderDetails, dashboard.UserOrders, dashboard.Feed)


class PeekingFeed(DirectFeed):
    """A feed without HTTP that can be asked without a receipt, and keeps no connection."""

    def fetch(self, *, after: int, limit: int, wait_seconds: float, mark: str = "") -> Batch:
        try:
            return super().fetch(after=after, limit=limit, wait_seconds=wait_seconds, mark=mark)
        finally:
            self.close()

    def peek(self, after: int) -> Batch:
        return self.fetch(after=after, limit=1, wait_seconds=0)


def open_feed(stream: str, group: str = "") -> PeekingFeed:
    """What migration_tools.messaging.transports opens, without HTTP."""
    return PeekingFeed("default", "default", stream)


def install_models(*kinds: type[ReadModel]) -> None:
    """Make the tables of read models in the test's database and let them take events."""
    for kind in kinds:
        model = register(kind())
        with transaction.atomic():
            install(django_connection("default"), model)


def publish(stream: str, event_type: str, aggregate_id: object, payload: dict[str, Any]) -> None:
    """Publish an event as a service does."""
    with transaction.atomic():
        outbox.publish(
            event_type,
            aggregate_type=AGGREGATES[stream],
            aggregate_id=aggregate_id,
            payload=payload,
            stream=stream,
        )


def number(stream: str) -> int:
    """Let the relay number what was published."""
    with connect("default", "test") as conn:
        return tick(conn, stream, RelationProjector()).head


def consume(stream: str, group: str = dashboard.GROUP) -> int:
    """Apply all that is numbered to a group."""
    with closing(open_feed(stream)) as feed:
        consumer = Consumer(stream, feed, None, group=group)
        at = -1
        while at != (at := consumer.step(0)):
            pass
    return at


def settle(*streams: str) -> None:
    """Number and apply what was published."""
    for stream in streams or STREAMS:
        number(stream)
        consume(stream)


def shown(*views: str) -> dict[str, list[tuple[Any, ...]]]:
    """What readers see in the views, as text and in order."""
    found = {}
    with connections["default"].cursor() as cursor:
        for view in views or VIEWS:
            cursor.execute(f"SELECT row_to_json(v)::text FROM {view} v ORDER BY 1")
            found[view] = cursor.fetchall()
    return found


class _Undo(Exception):
    pass


@contextmanager
def undone() -> Iterator[None]:
    """A transaction that leaves no trace."""
    try:
        with transaction.atomic():
            yield
            raise _Undo
    except _Undo:
        pass


def delivered(events: Iterable[Envelope], *, group: str = dashboard.GROUP) -> dict[str, list[tuple[Any, ...]]]:
    """What is shown after events were handled in this order; undone afterwards."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    with undone():
        for event in events:
            handle(event, group)
        found = shown()
    return found


def history(choose: random.Random, length: int) -> list[Envelope]:
    """A random course of a small shop, in an order in which it may happen, numbered by stream."""
    orders: dict[str, str] = {}
    made: list[Envelope] = []

    def say(stream: str, event_type: str, aggregate_id: object, payload: dict[str, Any]) -> None:
        at = sum(event.stream == stream for event in made) + 1
        made.append(
            sample(
                event_type,
                payload,
                stream=stream,
                aggregate_type=AGGREGATES[stream],
                aggregate_id=aggregate_id,
                position=at,
                event_id=uuid.UUID(int=choose.getrandbits(128)),
                timestamp=dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=len(made)),
            )
        )

    gone: set[int] = set()
    for _ in range(length):
        kind, user, product = choose.random(), choose.randrange(1, 4), choose.randrange(1, 4)
        moving = [order for order, status in orders.items() if status in MOVES]
        if kind < 0.25 and user not in gone:
            say("users", "user.renamed", user, {"user_id": user, "name": f"name {choose.randrange(100)}"})
        elif kind < 0.3 and user not in gone:
            gone.add(user)
            say("users", "user.deleted", user, {"user_id": user})
        elif kind < 0.45:
            name = f"thing {choose.randrange(100)}"
            said = {"product": product, "sku": f"S{product}", "name": name, "price_cents": 1, "currency": "EUR"}
            say("catalog", "product.changed", product, {**said, "active": True})
        elif kind < 0.7 or not moving:
            order = str(uuid.UUID(int=choose.getrandbits(128)))
            orders[order] = "placed"
            lines = [{"product": choose.randrange(1, 4), "quantity": choose.randrange(1, 9)} for _ in range(2)]
            total = f"{choose.randrange(10_000)}.{choose.randrange(100):02}"
            said = {"order_id": len(orders), "public_id": order, "user_id": user, "total": total, "currency": "EUR"}
            say("orders", "order.placed", order, {**said, "lines": lines})
        else:
            order = choose.choice(moving)
            orders[order] = choose.choice(MOVES[orders[order]])
            say("orders", f"order.{orders[order]}", order, {"order_id": 1, "public_id": order, "lines": []})
    return made


MOVES: dict[str, Sequence[str]] = {"placed": ("paid", "cancelled"), "paid": ("shipped", "cancelled")}
