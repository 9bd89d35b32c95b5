"""Groups of handlers stand apart, may begin anywhere the stream reaches, and nobody applies a stranger's stream."""

import json
from collections.abc import Iterator
from contextlib import closing
from io import StringIO
from itertools import pairwise
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import RequestFactory, override_settings

from migration_tools.errors import ForeignStream
from migration_tools.management.commands import strangle_replay
from migration_tools.messaging import consumer as consumer_module
from migration_tools.messaging import handlers, lag
from migration_tools.messaging.batch import Batch
from migration_tools.messaging.consumer import Consumer
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.feed import FeedView
from migration_tools.messaging.handlers import handles
from migration_tools.messaging.inbox import positions
from migration_tools.messaging.models import DeadLetterLog
from migration_tools.stores.postgres import connect, django_connection
from migration_tools.transfer.sync import TableWriter
from tests.stage import STREAM, DirectFeed

PUBLISH = """INSERT INTO strangle_outbox (stream, kind, event_id, event_type, event_version, aggregate_type,
    aggregate_id, payload, metadata)
    VALUES ('orders', 'e', gen_random_uuid(), 'test.group', 1, 'thing', %s, '{}', '{}')"""


class PeekingFeed(DirectFeed):
    """A feed without HTTP that can be asked without a receipt."""

    def peek(self, after: int) -> Batch:
        return self.fetch(after=after, limit=1, wait_seconds=0)


@pytest.fixture
def seen(stage: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[str]]]:
    """Two groups and the side's own handlers; what each has handled. In group slow, aggregate 'bad' fails."""
    monkeypatch.setattr(handlers, "_registry", {})
    found: dict[str, list[str]] = {"": [], "counts": [], "slow": []}

    def handler(group: str) -> None:
        @handles("test.group", stream=STREAM, group=group)
        def take(event: Envelope) -> None:
            if group == "slow" and event.aggregate_id == "bad":
                raise LookupError
            if event.aggregate_id not in found[group][-1:]:
                found[group].append(event.aggregate_id)

    for group in found:
        handler(group)
    feeds: list[PeekingFeed] = []

    def opened(stream: str, group: str = "") -> PeekingFeed:
        feeds.append(PeekingFeed("default", "default", stream))
        return feeds[-1]

    monkeypatch.setattr(strangle_replay, "open_feed", opened)
    yield found
    for feed in feeds:
        feed.close()


def publish(stage: Any, *names: str) -> int:
    for name in names:
        stage.shop.execute(PUBLISH, [name])
    return int(stage.tick())


def consume(group: str) -> int:
    with closing(DirectFeed("default", "default")) as feed:
        consumer = Consumer(STREAM, feed, None if group else TableWriter(), using="orders", group=group)
        at = -1
        while at != (at := consumer.step(0)):
            pass
        return at


def replay(*args: str) -> str:
    out = StringIO()
    with override_settings(MIGRATION_TOOLS={"DATABASE": "orders"}):
        call_command("strangle_replay", STREAM, *args, stdout=out)
    return out.getvalue()


def test_groups_have_positions_and_dead_letters_of_their_own(stage: Any, seen: dict[str, list[str]]) -> None:
    publish(stage, "good", "bad", "fine")
    assert consume("slow") == 3
    publish(stage, "late")
    assert consume("") == 4
    assert consume("counts") == 4
    assert seen == {
        "": ["good", "bad", "fine", "late"],
        "counts": ["good", "bad", "fine", "late"],
        "slow": ["good", "fine"],
    }
    parked = stage.orders.execute("SELECT stream FROM strangle_dead_letter").fetchall()
    assert parked == [("orders@slow",)], "a hand-over waits for the side's own handlers alone"


def test_a_new_group_begins_anywhere_and_handles_what_went_by(stage: Any, seen: dict[str, list[str]]) -> None:
    publish(stage, "a", "b")
    publish(stage, "c")
    consume("")
    assert "goes on after 1" in replay("--group", "counts", "--after", "1")
    consume("counts")
    assert seen["counts"] == ["b", "c"]
    with pytest.raises(CommandError, match="no handler of 'orders' is in group 'nobody'"):
        replay("--group", "nobody", "--after", "0")


def test_a_group_that_stands_still_holds_nobody_up_and_catches_up(stage: Any, seen: dict[str, list[str]]) -> None:
    for number in range(4):
        publish(stage, f"order {number}")
        assert consume("") == consume("counts") == number + 1
    assert seen["slow"] == []
    assert consume("slow") == 4
    assert seen["slow"] == seen["counts"] == [f"order {number}" for number in range(4)]


def test_a_replay_from_the_beginning_makes_the_same_rows_byte_by_byte(stage: Any) -> None:
    rows = "SELECT string_agg(t::text, E'\\n' ORDER BY id) FROM {} t"
    for table in ("sales_order", "sales_orderitem"):
        assert stage.orders.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    stage.shop.execute("UPDATE orders_order SET note = 'é ' || id, updated_at = clock_timestamp()")
    stage.tick()
    stage.shop.execute("UPDATE orders_orderline SET quantity = quantity + 1")
    stage.shop.execute("UPDATE orders_order SET discount = 0.10 WHERE id % 2 = 0")
    stage.tick()
    stage.shop.execute("UPDATE orders_order SET note = NULL WHERE id % 3 = 0")
    end = stage.tick()
    stage.consume()
    made = [stage.orders.execute(rows.format(table)).fetchone() for table in ("sales_order", "sales_orderitem")]
    assert all(each[0] for each in made)
    with stage.orders.transaction():
        stage.orders.execute("SELECT set_config('strangle.applying', 'row', true)")
        stage.orders.execute("TRUNCATE sales_orderitem, sales_order CASCADE")
        stage.orders.execute("UPDATE strangle_inbox SET position = 0, rows_position = 0")
    assert stage.consume() == end
    assert [stage.orders.execute(rows.format(t)).fetchone() for t in ("sales_order", "sales_orderitem")] == made


def test_what_is_handled_is_handled_again_only_if_that_is_said(stage: Any, seen: dict[str, list[str]]) -> None:
    stage.shop.execute("UPDATE orders_order SET note = 'then' WHERE id = 1")
    publish(stage, "a")
    consume("")
    stage.shop.execute("UPDATE orders_order SET note = 'now' WHERE id = 1")
    end = publish(stage, "b")
    consume("")
    with pytest.raises(CommandError, match="--again"):
        replay("--after", "0")
    with pytest.raises(CommandError, match="--reason") as refusal:
        replay("--after", "0", "--again")
    assert refusal.value.returncode == 2
    publish(stage, "c")
    with pytest.raises(CommandError, match="would leave events out"):
        replay("--after", str(end + 1))
    result = json.loads(replay("--after", "0", "--again", "--reason", "counts were lost", "--format", "json"))
    assert (result["before"], result["after"], result["head"]) == (end, 0, end + 1)
    assert consume("") == end + 1
    assert seen[""] == ["a", "b", "a", "b", "c"]
    row = stage.orders.execute("SELECT remark FROM sales_order WHERE id = 1").fetchone()
    assert row == ("now",), "rows do not go back"
    assert DeadLetterLog.objects.using("orders").get().reason == "counts were lost"


def test_a_position_that_retention_has_dropped_is_refused(stage: Any, seen: dict[str, list[str]]) -> None:
    publish(stage, "a", "b", "c")
    stage.shop.execute("DELETE FROM strangle_stream WHERE position <= 2")
    with pytest.raises(CommandError, match=r"cannot go on after 0.*the oldest kept is 3.*nothing was changed"):
        replay("--group", "counts", "--after", "0")
    replay("--group", "counts", "--after", "2")
    consume("counts")
    assert seen["counts"] == ["c"]


def test_parked_events_are_settled_before_a_replay(stage: Any, seen: dict[str, list[str]]) -> None:
    publish(stage, "good", "bad")
    consume("slow")
    with pytest.raises(CommandError, match="1 events of 'orders@slow' are parked"):
        replay("--group", "slow", "--after", "0", "--again", "--reason", "a test")


def test_the_feed_keeps_a_receipt_for_each_group_and_none_for_a_peek(stage: Any, seen: dict[str, list[str]]) -> None:
    publish(stage, "a", "b")

    def ask(query: str) -> int:
        request = RequestFactory().get(f"/strangle/feed/orders/?{query}", headers={"Authorization": "Bearer secret"})
        with override_settings(MIGRATION_TOOLS={"DATABASE": "default", "FEED_TOKENS": {"orders": "secret"}}):
            return int(FeedView.as_view()(request, stream=STREAM).status_code)

    assert [ask("after=2"), ask("after=1&group=counts"), ask("after=0&peek=1"), ask("after=0&group=no%20name")] == [
        200,
        200,
        200,
        400,
    ]
    with connect("default", "test") as conn:
        assert [each.consumer for each in lag.consumers(conn, STREAM)] == ["orders"], "what hand-overs look at"
        found = {each.consumer: each.position for each in lag.consumers(conn, STREAM, replicas=True)}
    assert found == {"orders": 2, "group counts of orders": 1}


def test_a_batch_of_another_databases_stream_is_refused(stage: Any, seen: dict[str, list[str]]) -> None:
    publish(stage, "ours")
    consume("")
    stage.orders.execute(PUBLISH, ["theirs"])
    stage.orders.execute(PUBLISH, ["theirs"])
    stage.tick(reverse=True)
    with closing(DirectFeed("orders", "default")) as foreign, closing(DirectFeed("default", "default")) as own:
        stranger = foreign.fetch(after=1, limit=9, wait_seconds=0)
        consumer = Consumer(STREAM, foreign, TableWriter(), using="orders")
        with pytest.raises(ForeignStream, match="has the identity"):
            consumer.step(0)
        broker = Broker([stranger])
        shared = Consumer(STREAM, own, TableWriter(), using="orders", subscription=broker)
        assert shared.step(0) == 1, "it is let go"
        assert broker.acknowledged == 1
        publish(stage, "ours too")
        shared._asked = -9.0
        assert shared.step(0) == 2, "and the feed goes on"
    assert seen[""] == ["ours", "ours too"]


def test_a_replay_from_another_databases_stream_is_refused(stage: Any, seen: dict[str, list[str]]) -> None:
    publish(stage, "ours")
    consume("")
    stage.orders.execute("UPDATE strangle_inbox SET identity = 'another'")
    with pytest.raises(CommandError, match="follows another"):
        replay("--group", "counts", "--after", "0")


def test_without_identities_a_foreign_batch_would_be_applied(stage: Any, seen: dict[str, list[str]]) -> None:
    publish(stage, "ours")
    consume("")
    stage.orders.execute("UPDATE strangle_inbox SET identity = ''")
    stage.orders.execute(PUBLISH, ["theirs"])
    stage.orders.execute(PUBLISH, ["theirs"])
    stage.tick(reverse=True)
    with closing(DirectFeed("orders", "default")) as foreign:
        Consumer(STREAM, foreign, TableWriter(), using="orders").step(0)
    assert seen[""] == ["ours", "theirs"]


def test_from_head_takes_the_feeds_identity(stage: Any, seen: dict[str, list[str]]) -> None:
    publish(stage, "ours")
    consume("")
    stage.shop.execute("UPDATE strangle_stream_identity SET identity = gen_random_uuid()")
    publish(stage, "after the restore")
    with pytest.raises(ForeignStream):
        consume("")
    with closing(DirectFeed("default", "default")) as feed:
        Consumer(STREAM, feed, TableWriter(), using="orders").skip_to_head()
    publish(stage, "and on")
    consume("")
    assert seen[""] == ["ours", "and on"]
    assert positions(django_connection("orders"), STREAM) == (3, 3)
    connections["orders"].close()


class Broker:
    """A subscription that holds what it was given; a fake of the port messaging.consumer.Subscription."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches
        self.acknowledged = 0

    def receive(self, wait_seconds: float) -> Batch | None:
        return self.batches[0] if self.batches else None

    def done(self) -> None:
        if self.batches:
            self.batches.pop(0)
            self.acknowledged += 1


def test_a_consumer_takes_few_records_first_more_while_they_are_quick_and_fewer_when_they_are_slow(
    stage: Any, seen: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "FIRST_RECORDS", 2)
    for number in range(20):
        publish(stage, f"thing {number}")
    with closing(DirectFeed("default", "default")) as feed:
        consumer = Consumer(STREAM, feed, None, using="orders", group="counts")
        ends = [consumer.step(0), consumer.step(0)]
        monkeypatch.setattr(consumer_module, "LONG_SECONDS", 0.0)
        ends += [consumer.step(0), consumer.step(0)]
    assert [after - before for before, after in pairwise([0, *ends])] == [2, 4, 8, 4]
