"""A rebuild beside live traffic ends equal to what was live, without a gap, wherever it is cut off."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import StringIO
from typing import Any, ClassVar

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction

from extracted_services.dashboard import read_models as dashboard
from migration_tools.errors import StrangleError, TransferError
from migration_tools.kernel import points
from migration_tools.management.commands import strangle_rebuild
from migration_tools.messaging import handlers
from migration_tools.messaging.envelope import Envelope
from migration_tools.projections import Latest, Put, ReadModel, Table, layout, on, registry, slots
from migration_tools.projections.rebuild import Rebuild
from migration_tools.projections.state_events import publish_state, publishes_state
from migration_tools.stores.postgres import connect, django_connection
from tests.conftest import ROOT, SMALL_SHOP, Pair
from tests.read_model_rig import MODELS, consume, install_models, number, open_feed, publish, settle, shown

EVENTS = 24


@pytest.fixture
def shop(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """A shop with read models and some history, applied."""
    monkeypatch.setattr(handlers, "_registry", {})
    monkeypatch.setattr(registry, "_registry", {})
    monkeypatch.setattr(strangle_rebuild, "open_feed", open_feed)
    install_models(*MODELS)
    for at in range(1, EVENTS + 1):
        place(at)
    publish("users", "user.renamed", 1, {"user_id": 1, "name": "Ada"})
    settle()
    yield pair
    connections["default"].close()


def place(at: int) -> None:
    key = f"00000000-0000-0000-0000-{at:012}"
    said = {"order_id": at, "public_id": key, "user_id": at % 3, "total": f"{at}.50", "currency": "EUR"}
    publish("orders", "order.placed", key, {**said, "lines": [{"product": at % 4, "quantity": at}]})


def rebuild(name: str, **more: Any) -> Any:
    return Rebuild(registry.get(name), open_feed, **more).run(threading.Event(), lambda _: None)


def test_what_is_rebuilt_equals_what_was_live(shop: Pair) -> None:
    before = shown()
    for kind in MODELS:
        done = rebuild(kind.name)
        assert (done.slot, done.events["orders"]) == (2, EVENTS)
    assert shown() == before
    with shop.connect("shop") as conn:
        old = conn.execute("SELECT count(*) FROM pg_tables WHERE tablename ~ '_s1$'").fetchone()
        assert old == (0,), "what was live before is dropped"
        left = conn.execute("SELECT count(*) FROM strangle_inbox WHERE stream ~ '-s2$'").fetchone()
        assert left == (0,)


def test_a_rebuild_under_live_traffic_shows_every_order_at_any_moment(shop: Pair) -> None:
    """A writer, a relay, a live consumer and a reader go on; no order that was shown is ever missing again."""
    stop, seen, missed = threading.Event(), [0], list[int]()

    def live() -> None:
        at = EVENTS
        while not stop.is_set():
            at += 1
            place(at)
            number("orders")
            consume("orders")
        connections.close_all()

    def read() -> None:
        with shop.connect("shop") as conn:
            while not stop.is_set():
                [found] = conn.execute("SELECT count(*) FROM order_summary").fetchone() or (0,)
                if found < seen[0]:
                    missed.append(found)
                seen[0] = max(seen[0], found)

    threads = [threading.Thread(target=work) for work in (live, read)]
    for thread in threads:
        thread.start()
    try:
        for expected in (2, 3, 4):
            assert rebuild("order_summary").slot == expected
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    settle("orders")
    assert missed == []
    with shop.connect("shop") as conn:
        want = conn.execute("SELECT count(*) FROM strangle_stream WHERE stream = 'orders'").fetchone()
        assert conn.execute("SELECT count(*) FROM order_summary").fetchone() == want
    assert seen[0] > EVENTS
    before = shown("order_summary")
    rebuild("order_summary")
    assert shown("order_summary") == before


def test_an_event_that_comes_while_the_swap_waits_is_in_the_new_tables(shop: Pair) -> None:
    """The live consumer holds the group's lock with an event under way; the swap waits for it, and takes it along."""
    under_way, released = threading.Event(), threading.Event()

    def hold() -> None:
        if threading.current_thread() is not threading.main_thread():
            under_way.set()
            assert released.wait(30)

    def live() -> None:
        consume("orders")
        connections.close_all()

    model = Rebuild(registry.get("order_summary"), open_feed)
    slot, _ = model._begin(lambda _: None)
    model._register(slot)
    for stream in ("orders", "users"):
        model._read(slot, stream, threading.Event())
    place(EVENTS + 1)
    number("orders")
    with points.on("inbox.before_commit", hold):
        thread = threading.Thread(target=live)
        thread.start()
        assert under_way.wait(30)
        swap = threading.Thread(target=lambda: (model._swap(slot), connections.close_all()))
        swap.start()
        with connect("default", "test") as conn:
            waiting = """SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
            while conn.execute(waiting).fetchone() == (0,):
                assert swap.is_alive()
        released.set()
        thread.join()
        swap.join()
    assert len(shown("order_summary")["order_summary"]) == EVENTS + 1


KILLED = """
import os, sys, threading
import django
django.setup()
from extracted_services.dashboard import read_models as dashboard
from migration_tools.kernel import points
from migration_tools.projections.rebuild import Rebuild
from migration_tools.projections.registry import register
from tests.read_model_rig import open_feed
Rebuild(register(dashboard.OrderSummary()), open_feed).run(threading.Event(), print)
"""


@pytest.mark.parametrize(
    "point",
    [
        "rebuild.before_swap",
        "rebuild.swapped",
        *[
            pytest.param(point, marks=pytest.mark.thorough)
            for point in ("rebuild.before_begun", "rebuild.batch", "inbox.before_commit")
        ],
    ],
)
def test_a_rebuild_killed_anywhere_goes_on_and_ends_equal(shop: Pair, point: str) -> None:
    before = shown()
    env = {**shop.environment(user="postgres"), "DJANGO_SETTINGS_MODULE": "legacy_monolith.settings"}
    victim = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=ROOT, env={**env, "STRANGLE_POINTS": f"{point}=kill"},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert victim.returncode == -signal.SIGKILL, victim.stderr
    assert shown() == before, "readers notice nothing"
    place(EVENTS + 1)
    settle("orders")
    live = shown("order_summary")
    rebuild("order_summary")
    assert shown("order_summary") == live
    with connect("default", "test") as conn:
        [only] = slots.slots(conn, "order_summary")
    assert only.state == "live"
    with shop.connect("shop") as conn:
        tables = conn.execute("SELECT tablename FROM pg_tables WHERE tablename ~ '^order_summary.*_s[0-9]+$'")
        assert {name.rpartition("_s")[2] for (name,) in tables.fetchall()} == {str(only.number)}


class Changed(dashboard.OrderSummary):
    """The summary after its author thought again: another column, others in another order, another handler."""

    name = "order_summary"
    version = 2
    tables: ClassVar = (
        dashboard.OrderSummary.tables[0],
        Table(
            name="order_summary",
            key={"order_id": "uuid"},
            source="orders",
            columns={"total_amount": Latest("numeric"), "shouted": Latest("text")},
        ),
    )

    @on("order.placed", stream="orders")
    def placed(self, event: Envelope) -> Any:
        said = {"total_amount": event.payload["total"], "shouted": event.payload["currency"].lower()}
        return [Put("order_summary", dashboard.order_key(event), said)]

    @on("order.paid", stream="orders")
    def moved(self, event: Envelope) -> Any:
        return []


def test_a_changed_declaration_goes_on_as_it_is_until_it_is_rebuilt(shop: Pair) -> None:
    with shop.connect("shop") as conn:
        conn.execute("GRANT SELECT ON order_summary TO orders_app")
    registry._registry.clear()
    handlers._registry.clear()
    registry.register(Changed())
    place(EVENTS + 1)
    settle("orders")
    with shop.connect("shop") as conn:
        query = "SELECT total_amount::text, currency FROM order_summary v ORDER BY v.total_amount DESC LIMIT 1"
        assert conn.execute(query).fetchone() == (f"{EVENTS + 1}.50", None), "what it does not have is left out"
    rebuild("order_summary")
    with shop.connect("shop") as conn:
        query = "SELECT count(*), min(shouted) FROM order_summary"
        assert conn.execute(query).fetchone() == (EVENTS + 1, "eur")
        granted = "SELECT has_table_privilege('orders_app', 'order_summary', 'SELECT')"
        assert conn.execute(granted).fetchone() == (True,), "grants survive a view with other columns"


def test_history_before_the_events_comes_from_published_state(shop: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention has dropped the beginning; the owner publishes names, and the read model begins there."""
    from legacy_monolith.accounts.models import User
    from migration_tools.projections import state_events

    monkeypatch.setattr(state_events, "_registry", {})
    with shop.connect("shop") as conn:
        conn.execute(SMALL_SHOP.partition("INSERT INTO catalog_category")[0])
        conn.execute("DELETE FROM strangle_stream WHERE stream = 'users'")
    with pytest.raises(TransferError, match=r"strangle_state_events users.*--after users=N.*Nothing was changed"):
        rebuild("order_summary")
    publishes_state(
        "user.renamed", stream="users", aggregate_type="user", queryset=User.objects.all,
        aggregate_id=lambda user: str(user.pk), payload=lambda user: {"user_id": user.pk, "name": user.name},
    )  # fmt: skip
    steps = publish_state("users", chunk_rows=7)
    first = next(steps)
    assert (first.rows, first.done) == (7, False)
    number("users")
    with pytest.raises(StrangleError, match="has not seen the end of a publication of state"):
        rebuild("order_summary", after={"users": first.head})
    del steps
    last = list(publish_state("users", chunk_rows=7))[-1]
    assert (last.rows, last.done, last.head) == (20, True, first.head), "it goes on where it was cut off"
    settle("users")
    rebuild("order_summary", after={"users": last.head})
    with shop.connect("shop") as conn:
        names = conn.execute("SELECT DISTINCT customer_id, customer_name FROM order_summary ORDER BY 1").fetchall()
    assert names == [(0, ""), (1, "Ünï1 Näme1"), (2, "Ünï2 Näme2")]


class Broken(ReadModel):
    """A read model whose handler cannot take what is in the stream."""

    name = "broken"
    tables: ClassVar = (
        Table(name="broken", key={"id": "uuid"}, source="orders", columns={"total": Latest("boolean")}),
    )

    @on("order.placed", stream="orders")
    def placed(self, event: Envelope) -> Any:
        return [Put("broken", {"id": event.payload["public_id"]}, {"total": event.payload["total"]})]


def test_an_event_that_cannot_be_handled_stops_the_swap_and_nothing_else(shop: Pair) -> None:
    install_models(Broken)
    with pytest.raises(StrangleError, match=r"24 events of 'orders' could not be handled by 'broken'"):
        rebuild("broken")
    assert Rebuild(registry.get("broken"), open_feed).discard() is True
    with connect("default", "test") as conn:
        assert [slot.state for slot in slots.slots(conn, "broken")] == ["live"]
        waiting = conn.execute("SELECT count(*) FROM strangle_dead_letter").fetchone()
    assert waiting == (0,)


def test_the_command_tells_its_plan_rebuilds_and_refuses_what_is_not_there(shop: Pair) -> None:
    out = StringIO()
    call_command("strangle_rebuild", "feed", "--dry-run", stdout=out)
    assert f"read {EVENTS} records of stream 'orders', after position 0" in out.getvalue()
    assert "nothing was touched" in out.getvalue()
    out = StringIO()
    call_command("strangle_rebuild", "feed", stdout=out)
    assert "'feed' is served from slot 2" in out.getvalue()
    with pytest.raises(CommandError, match="there is no read model 'fed'; known are"):
        call_command("strangle_rebuild", "fed")
    with pytest.raises(CommandError, match="write it as STREAM=N"):
        call_command("strangle_rebuild", "feed", "--after", "orders")
    with pytest.raises(CommandError, match=r"does not read \['payments'\]; it reads \['orders', 'users'\]"):
        call_command("strangle_rebuild", "feed", "--after", "payments=3")


def test_a_name_that_a_table_has_already_is_refused(shop: Pair) -> None:
    class Clash(Broken):
        name = "clash"
        tables: ClassVar = (
            Table(name="orders_order", key={"id": "uuid"}, source="orders", columns={"total": Latest("boolean")}),
        )

    with pytest.raises(StrangleError, match="'orders_order' is the name of a view"), transaction.atomic():
        layout.install(django_connection("default"), Clash())
