"""What every store outside the database promises of a read model's rows, tried alike on each that ships.

Subclass `Promises` in a module with a fixture `rows`, what readers use with nothing in it, and a `lose`, which makes
the store forget which slot is shown.
"""

import contextlib
import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from django.db import transaction
from django.test import override_settings

from migration_tools.errors import StoreAway, StoreError
from migration_tools.messaging import handlers
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handling import HandlerFailed, handle
from migration_tools.projections import Gone, Largest, Latest, Put, ReadModel, Steps, Table, on, registry
from migration_tools.projections.elsewhere import Elsewhere
from migration_tools.projections.merging import Row, gone, put
from migration_tools.projections.slots import LIVE, Slot
from migration_tools.testing.brokers import EmbeddedBroker
from tests.conftest import Cluster, Pair, cloned_pair
from tests.integration.test_read_model_rebuild import rebuild
from tests.read_model_rig import history, install_models, publish, settle, undone

VIEWS = {"order_analytics": "order_id", "order_days": "day"}
FIRST = Slot(
    model="order_analytics", number=1, state=LIVE, fingerprint="", version=1, held={}, origins={}, after={},
    complete=(),
)  # fmt: skip
Rows = dict[str, dict[tuple[Any, ...], dict[str, Any]]]


class OrderAnalytics(ReadModel):
    """An order as it is counted, and the day on which it was placed, as documents."""

    name = "order_analytics"
    group = "dashboard"
    store = "elsewhere"
    tables: ClassVar = (
        Table(
            name="order_analytics",
            key={"order_id": "uuid"},
            source="orders",
            columns={
                "customer_id": Latest("bigint"),
                "total": Latest("numeric"),
                "currency": Latest("text"),
                "status": Steps("placed", "paid", "shipped", "cancelled"),
                "last_updated": Largest("timestamptz"),
            },
        ),
        Table(
            name="order_days",
            key={"customer_id": "bigint", "day": "date"},
            source="orders",
            columns={"last": Largest("timestamptz"), "lines": Latest("jsonb")},
        ),
    )

    @on("order.placed", stream="orders")
    def placed(self, event: Envelope) -> Any:
        said = event.payload
        values = {"customer_id": said["user_id"], "total": said["total"], "currency": said["currency"]}
        key = {"order_id": said["public_id"]}
        yield Put("order_analytics", key, {**values, "status": "placed", "last_updated": event.timestamp})
        day = {"customer_id": said["user_id"], "day": event.timestamp.date()}
        yield Put("order_days", day, {"last": event.timestamp, "lines": said["lines"]})

    @on("order.paid", stream="orders")
    @on("order.shipped", stream="orders")
    def moved(self, event: Envelope) -> Any:
        values = {"status": event.event_type.removeprefix("order."), "last_updated": event.timestamp}
        yield Put("order_analytics", {"order_id": event.payload["public_id"]}, values)

    @on("order.cancelled", stream="orders")
    def cancelled(self, event: Envelope) -> Any:
        yield Gone("order_analytics", {"order_id": event.payload["public_id"]})


@contextlib.contextmanager
def stored(cluster: Cluster, templates: tuple[str, str], blocker: Any, engine: str, url: str) -> Iterator[Pair]:
    """A database with the read model's slot, and a store that the settings name."""
    with (
        pytest.MonkeyPatch.context() as patch,
        cloned_pair(cluster, templates, blocker) as made,
        named(engine, url),
    ):
        patch.setattr(handlers, "_registry", {})
        patch.setattr(registry, "_registry", {})
        install_models(OrderAnalytics)
        yield made


def named(engine: str, url: str) -> Any:
    """Let the settings name a store for the block."""
    return override_settings(MIGRATION_TOOLS={"STORES": {"elsewhere": {"ENGINE": engine, "URL": url}}})


def empty(rows: Elsewhere) -> None:
    """Drop the slots that a test may have made."""
    for number in (1, 2, 3):
        rows.drop(number)


def expected(events: list[Envelope]) -> Rows:
    """The rows by the merge alone, in the order of the stream, by table and key."""
    model = registry.get("order_analytics")
    found: dict[str, dict[tuple[Any, ...], Row]] = {view: {} for view in VIEWS}
    for event in sorted(events, key=lambda each: each.position):
        for taken in model.taken():
            if taken.event_type == event.event_type:
                for change in model.changes(taken, event):
                    table, key = model.table(change.table), tuple(change.key.items())
                    row = found[table.name].get(key, Row())
                    found[table.name][key] = (
                        put(table, row, change.values, stream="orders", position=event.position, erases=True)
                        if isinstance(change, Put)
                        else gone(row, erases=True)
                    )
    return {
        view: {key: {**dict(key), **row.values} for key, row in kept.items() if row.present}
        for view, kept in found.items()
    }


def of_orders(seed: int, length: int) -> list[Envelope]:
    """The orders' part of a random course of the shop."""
    return [event for event in history(random.Random(seed), length) if event.stream == "orders"]


def twisted(events: list[Envelope], seed: int) -> list[Envelope]:
    """The same events in another order, some of them twice."""
    choose = random.Random(seed)
    made = [*events, *choose.choices(events, k=10)]
    choose.shuffle(made)
    return made


def deliver(events: list[Envelope]) -> None:
    """Handle events in this order, in one transaction."""
    with transaction.atomic():
        for event in events:
            handle(event, "dashboard")


def shown(rows: Elsewhere, want: Rows) -> Rows:
    """What readers see of the rows that are wanted."""
    return {view: {key: rows.read(view, dict(key)) or {} for key in kept} for view, kept in want.items()}


def place(number: int) -> str:
    """Publish that an order was placed; its id."""
    key = f"00000000-0000-0000-0000-{number:012}"
    said = {"order_id": number, "public_id": key, "user_id": number % 3, "total": "1.50", "currency": "EUR"}
    publish("orders", "order.placed", key, {**said, "lines": []})
    return key


def seen_while_rebuilt(ask: Callable[[], Any]) -> list[Any]:
    """What a reader is told, again and again, while the slot is swapped twice; refusals too, but not that it is away.

    BriskDB refuses to be read while it makes or drops a collection.
    """
    stop, seen, reading = threading.Event(), list[Any](), threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                seen.append(ask())
            except StoreAway:
                continue
            except StoreError as error:
                seen.append(error)
            reading.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert reading.wait(30)
        assert [rebuild("order_analytics").slot, rebuild("order_analytics").slot] == [2, 3]
    finally:
        stop.set()
        reader.join()
    assert len(seen) > 2
    return seen


class Meanwhile(dict[str, Any]):
    """Values that let another write, once, between the reading of a row and its writing."""

    def __init__(self, values: dict[str, Any], other: Callable[[], None]):
        super().__init__(values)
        self._others = [other]

    def items(self) -> Any:
        while self._others:
            self._others.pop()()
        return super().items()


class Promises:
    """The tests of one store."""

    engine: ClassVar[str]
    says: ClassVar[str]
    """How messages call it."""
    server: ClassVar[type[EmbeddedBroker]]
    opens: ClassVar[Callable[[ReadModel, str], Elsewhere]]
    patience: ClassVar[str] = ""
    """What of a URL says that a server that is away is not waited for."""
    seeds: ClassVar[int] = 3
    variable: ClassVar[str] = ""
    """The environment's variable that names a server which no test may end."""

    def test_shuffled_and_repeated_events_leave_the_same_documents(self, rows: Elsewhere) -> None:
        for seed in range(self.seeds):
            empty(rows)
            events = of_orders(seed, 40)
            deliver(twisted(events, seed))
            want = expected(events)
            assert shown(rows, want) == want

    def test_an_event_whose_transaction_was_undone_is_delivered_again_without_harm(self, rows: Elsewhere) -> None:
        events = of_orders(9, 30)
        for _ in range(2):
            with undone():
                for event in events:
                    handle(event, "dashboard")
        deliver(events)
        want = expected(events)
        assert shown(rows, want) == want

    def test_rows_that_are_gone_stay_gone(self, rows: Elsewhere) -> None:
        events = of_orders(5, 60)
        cancelled = {event.payload["public_id"] for event in events if event.event_type == "order.cancelled"}
        assert cancelled
        deliver(events[::-1])
        deliver([event for event in events if event.event_type == "order.placed"])
        assert [rows.read("order_analytics", {"order_id": key}) for key in cancelled] == [None] * len(cancelled)

    def test_what_another_writes_between_reading_and_writing_is_not_lost(self, rows: Elsewhere) -> None:
        """Consumers take turns by a lock; a rebuild's consumer and a mistaken second one do not."""
        key = {"order_id": "00000000-0000-0000-0000-000000000001"}

        def write(position: int, values: Mapping[str, Any]) -> None:
            rows.apply(FIRST, [Put("order_analytics", key, values)], stream="orders", position=position, shown=True)

        # First a row that nobody has made yet, then one that is there.
        write(1, Meanwhile({"total": "1.00"}, lambda: write(2, {"currency": "EUR"})))
        assert rows.read("order_analytics", key) == {**key, "total": Decimal("1.00"), "currency": "EUR"}
        write(4, Meanwhile({"total": "2.00"}, lambda: write(3, {"currency": "CHF"})))
        assert rows.read("order_analytics", key) == {**key, "total": Decimal("2.00"), "currency": "CHF"}

    def test_a_store_that_forgot_is_filled_by_a_rebuild_and_a_lost_slot_is_shown_again(
        self, rows: Elsewhere, lose: Callable[[], None]
    ) -> None:
        key = place(1)
        settle("orders")
        live = rows.read("order_analytics", {"order_id": key})
        assert live is not None
        empty(rows)
        assert rows.read("order_analytics", {"order_id": key}) is None
        assert rebuild("order_analytics").slot == 2
        assert rows.read("order_analytics", {"order_id": key}) == live
        lose()
        assert rows.read("order_analytics", {"order_id": key}) is None
        publish("orders", "order.paid", key, {"order_id": 1, "public_id": key, "amount": "1.50"})
        settle("orders")
        found = rows.read("order_analytics", {"order_id": key})
        assert found is not None
        assert found["status"] == "paid"

    def test_while_the_server_is_away_no_event_is_given_up(self, store: Pair) -> None:
        if os.environ.get(self.variable):
            pytest.skip("ends the server")
        event = next(event for event in of_orders(1, 30) if event.event_type == "order.placed")
        key = {"order_id": event.payload["public_id"]}
        with (
            self.server() as server,
            contextlib.closing(type(self).opens(registry.get("order_analytics"), server.url + self.patience)) as rows,
            named(self.engine, server.url + self.patience),
        ):
            server.kill()
            with pytest.raises(HandlerFailed) as told, transaction.atomic():
                handle(event, "dashboard")
            assert told.value.passing
            with pytest.raises(StoreAway, match=f"store 'elsewhere': {self.says} does not answer.*; nothing is lost"):
                rows.read("order_analytics", key)
            server.start()
            deliver([event])
            assert rows.read("order_analytics", key) is not None
