"""A poison event parks its key, not the stream; it can be handled again or given up."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from migration_tools.messaging import handlers
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import handles
from migration_tools.messaging.models import DeadLetter
from migration_tools.state.models import JournalEntry

PUBLISH = """
    INSERT INTO strangle_outbox (stream, kind, event_id, event_type, event_version, aggregate_type, aggregate_id,
        payload, correlation_id, metadata)
    VALUES ('orders', 'e', gen_random_uuid(), 'test.poison', %s, 'thing', %s, '{}', 'c', '{}')"""


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Handle test.poison; aggregates in `poisoned` fail."""
    seen: list[str] = []
    monkeypatch.setattr(handlers, "_registry", {})

    @handles("test.poison", stream="orders")
    def take(event: Envelope) -> None:
        if event.aggregate_id in POISONED:
            raise LookupError("cannot digest this")
        seen.append(event.aggregate_id)

    POISONED.clear()
    return seen


POISONED: set[str] = set()


def run(*args: str, database: str = "orders") -> str:
    out = StringIO()
    with override_settings(MIGRATION_TOOLS={"DATABASE": database, "PLAYBOOKS": ["playbooks.orders"]}):
        call_command("strangle_dead_letters", *args, stdout=out)
    return out.getvalue()


def test_a_poison_event_parks_its_key_and_the_rest_goes_on(stage: Any, handled: list[str]) -> None:
    POISONED.add("bad")
    for name in ("good", "bad", "good", "bad", "fine"):
        stage.shop.execute(PUBLISH, [1, name])
    stage.settle()
    assert handled[-3:] == ["good", "good", "fine"]
    assert DeadLetter.objects.using("orders").count() == 2
    with pytest.raises(CommandError, match="cannot digest this"):
        run("replay", "orders")
    POISONED.clear()
    assert "2 events were handled" in run("replay", "orders")
    assert handled[-2:] == ["bad", "bad"]
    assert "0 events" in run("list", "orders")


def test_an_unknown_newer_version_is_parked_and_given_up_only_with_a_reason(stage: Any, handled: list[str]) -> None:
    stage.orders.execute(PUBLISH, [9, "future"])
    stage.tick(reverse=True)
    stage.consume(reverse=True)
    letter = DeadLetter.objects.get()
    assert "version 9" in letter.reason
    with pytest.raises(CommandError, match="--reason"):
        run("skip", "orders", "--position", str(letter.position), database="default")
    run("skip", "orders", "--position", str(letter.position), "--reason", "a test", database="default")
    assert not DeadLetter.objects.exists()
    assert JournalEntry.objects.get(step="skipped").reason == "a test"
