"""A poison event parks its key, not the stream; it can be handled again or given up, and nothing of it is told."""

import json
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import override_settings

from migration_tools.errors import TransferError
from migration_tools.messaging import handlers
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import handles
from migration_tools.messaging.models import DeadLetter, DeadLetterLog
from migration_tools.phases.gates import no_dead_letters
from migration_tools.phases.surroundings import surroundings
from migration_tools.playbook.registry import get
from migration_tools.state.models import JournalEntry
from tests.races.scene import until

PUBLISH = """
    INSERT INTO strangle_outbox (stream, kind, event_id, event_type, event_version, aggregate_type, aggregate_id,
        payload, correlation_id, metadata)
    VALUES ('orders', 'e', gen_random_uuid(), 'test.poison', %s, 'thing', %s, '{"name": "Ada Lovelace"}', 'c', '{}')"""

POISONED: set[str] = set()
PASSING: list[Exception] = []


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Handle test.poison; aggregates in `poisoned` fail."""
    seen: list[str] = []
    monkeypatch.setattr(handlers, "_registry", {})

    @handles("test.poison", stream="orders")
    def take(event: Envelope) -> None:
        if PASSING:
            raise PASSING.pop()
        if event.aggregate_id in POISONED:
            raise LookupError(f"cannot digest {event.payload['name']}")
        seen.append(f"{event.aggregate_id}@{event.position}")

    POISONED.clear()
    PASSING.clear()
    return seen


def run(*args: str, database: str = "orders") -> str:
    out = StringIO()
    with override_settings(MIGRATION_TOOLS={"DATABASE": database, "PLAYBOOKS": ["playbooks.orders"]}):
        call_command("strangle_dead_letters", *args, stdout=out)
    return out.getvalue()


def publish(stage: Any, *names: str, version: int = 1) -> None:
    for name in names:
        stage.shop.execute(PUBLISH, [version, name])


def names(handled: list[str]) -> list[str]:
    return [each.partition("@")[0] for each in handled]


def test_a_poison_event_parks_its_key_and_the_rest_goes_on(stage: Any, handled: list[str]) -> None:
    POISONED.update({"bad", "worse"})
    publish(stage, "good", "bad", "good", "bad", "worse", "fine")
    stage.settle()
    assert names(handled)[-3:] == ["good", "good", "fine"]
    letters = list(DeadLetter.objects.using("orders").order_by("position"))
    assert [(letter.aggregate_id, letter.attempts) for letter in letters] == [("bad", 3), ("bad", 0), ("worse", 3)]
    with pytest.raises(CommandError, match="thing/bad failed again") as failure:
        run("replay", "orders", "--key", "thing/bad")
    assert failure.value.returncode == 1
    POISONED.discard("bad")
    with pytest.raises(CommandError, match="thing/worse failed again"):
        run("replay", "orders", "--reason", "the handler is mended")
    assert handled[-2:] == [f"bad@{letters[0].position}", f"bad@{letters[1].position}"]
    assert "1 events of 1 aggregates" in run("list", "orders")
    assert {log.outcome for log in DeadLetterLog.objects.using("orders").all()} == {"replayed"}


def test_what_is_told_of_a_parked_event_holds_none_of_its_data(
    stage: Any, handled: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    POISONED.add("bad")
    publish(stage, "bad")
    stage.settle()
    told = run("list", "orders") + run("show", "orders") + run("show", "orders", "--format", "json") + caplog.text
    assert "LookupError in tests.integration.test_dead_letters" in told
    assert "Ada" not in told
    assert "text of 12" in told
    shown = json.loads(run("show", "orders", "--reveal", "--format", "json"))
    assert shown["events"][0]["payload"] == {"name": "Ada Lovelace"}
    assert "Ada" in shown["events"][0]["detail"]


def test_an_unknown_newer_version_is_parked_and_given_up_only_with_a_reason(stage: Any, handled: list[str]) -> None:
    stage.orders.execute(PUBLISH, [9, "future"])
    stage.orders.execute(PUBLISH, [1, "future"])
    stage.tick(reverse=True)
    stage.consume(reverse=True)
    letter = DeadLetter.objects.order_by("position").first()
    assert letter is not None
    assert "version 9" in letter.reason
    with pytest.raises(CommandError, match="--reason") as refusal:
        run("skip", "orders", "--position", str(letter.position), database="default")
    assert refusal.value.returncode == 2
    position = str(letter.position)
    assert "1 of the same aggregate still wait" in run(
        "skip", "orders", "--position", position, "--reason", "a test", database="default"
    )
    with pytest.raises(CommandError, match="no such event"):
        run("skip", "orders", "--position", position, "--reason", "again", database="default")
    assert JournalEntry.objects.get(step="skipped").reason == "a test"
    run("replay", "orders", database="default")
    assert names(handled) == ["future"]
    assert not DeadLetter.objects.exists()


def test_a_failure_of_the_machine_is_tried_again_and_parks_nothing(stage: Any, handled: list[str]) -> None:
    failure = psycopg.errors.SerializationFailure
    PASSING.extend([failure("try again"), failure("try again")])
    publish(stage, "good")
    stage.settle()
    assert names(handled) == ["good"]
    PASSING.extend(failure("for ever") for _ in range(3))
    publish(stage, "good")
    stage.tick()
    consumer = stage.consumer()
    with pytest.raises(failure, match="for ever"):
        consumer.step(0)
    consumer.step(0)
    consumer.feed.close()
    assert names(handled) == ["good", "good"]
    assert not DeadLetter.objects.using("orders").exists()


def test_a_connection_that_is_lost_in_a_handler_parks_nothing(
    stage: Any, handled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = []

    @handles("test.poison", stream="orders")
    def lose(event: Envelope) -> None:
        if not lost:
            lost.append(event)
            with connections["orders"].cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    publish(stage, "good")
    stage.tick()
    with stage.running():
        stage_end = stage.tick()
        wait_until(lambda: len(handled) > 1 and position_of(stage) >= stage_end)
    assert names(handled) == ["good", "good"], "its first effect was rolled back with the connection"
    assert not DeadLetter.objects.using("orders").exists()


def position_of(stage: Any) -> int:
    row = stage.orders.execute("SELECT position FROM strangle_inbox WHERE stream = 'orders'").fetchone()
    return row[0] if row else 0


def wait_until(condition: Any) -> None:
    until(condition, "the consumer to go on")


def test_a_row_that_cannot_be_applied_stops_the_stream_and_holds_the_hand_over(stage: Any, handled: list[str]) -> None:
    stage.orders.execute("ALTER TABLE sales_order ADD CONSTRAINT no_secrets CHECK (remark <> 'no')")
    stage.shop.execute("UPDATE orders_order SET note = 'no' WHERE id = 1")
    publish(stage, "behind")
    end = stage.tick()
    with stage.running():
        wait_until(lambda: gate_says("stands still"))
        assert position_of(stage) == 0
        assert not handled, "nothing overtakes the row, and nothing is parked"
        stage.orders.execute("ALTER TABLE sales_order DROP CONSTRAINT no_secrets")
        wait_until(lambda: position_of(stage) >= end and not gate_says("stands still"))
    assert names(handled) == ["behind"]
    assert not DeadLetter.objects.using("orders").exists()


def test_a_letter_of_a_streams_former_life_swallows_no_event(stage: Any, handled: list[str]) -> None:
    POISONED.add("bad")
    publish(stage, "bad")
    stage.settle()
    stage.orders.execute(
        """UPDATE strangle_dead_letter SET position = position + 1, aggregate_id = 'former',
               envelope = envelope || jsonb_build_object('aggregateId', 'former', 'position', position + 1)"""
    )
    publish(stage, "bad")
    stage.tick()
    with pytest.raises(TransferError, match="from before its owner was restored"):
        stage.consume()
    run("skip", "orders", "--position", "2", "--reason", "a former life")
    stage.consume()
    assert DeadLetter.objects.using("orders").get().aggregate_id == "bad"


def gate_says(words: str) -> bool:
    with surroundings(get("orders"), purpose="test") as env:
        return any(words in sentence for sentence in no_dead_letters(env))
