"""Tools with --dry-run say what they would do and leave everything as it was; without it they do it."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from migration_tools.messaging.models import DeadLetter, DeadLetterLog
from migration_tools.routing import publishing
from migration_tools.routing.models import ProxyInstance, RoutingVersion
from migration_tools.routing.shadow.models import ShadowRule
from migration_tools.routing.table import ensure_context
from migration_tools.state.models import JournalEntry
from tests.conftest import Pair


def told(command: str, *args: str) -> str:
    out = StringIO()
    call_command(command, *args, stdout=out)
    return out.getvalue()


def facts() -> dict[str, Any]:
    """All that these commands could change."""
    return {
        "versions": RoutingVersion.objects.count(),
        "rules": list(ShadowRule.objects.values("pk", "state")),
        "journal": JournalEntry.objects.count(),
        "letters": DeadLetter.objects.count(),
        "log": DeadLetterLog.objects.count(),
        "proxies": ProxyInstance.objects.count(),
    }


def test_what_is_rehearsed_changes_nothing_and_what_is_done_does(pair: Pair) -> None:
    publishing.publish(
        lambda table: ensure_context(table, "orders", ["/api/orders/"], "orders"), author="t", reason="t"
    )
    ShadowRule.objects.create(context="orders", path="$.x", kind="changed", action="ignore")
    DeadLetter.objects.create(
        stream="orders", position=4, aggregate_type="order", aggregate_id="7", envelope=ENVELOPE, reason="x"
    )
    ProxyInstance.objects.create(proxy="edge-9")
    rule = str(ShadowRule.objects.get().pk)
    before = facts()
    for words, says in (
        (("strangle_route", "set", "orders", "reads=25%"), "nothing was touched"),
        (("strangle_route", "kill", "orders"), "nothing was touched"),
        (("strangle_route", "hold", "orders"), "nothing was touched"),
        (("strangle_route", "forget", "edge-9"), "would be forgotten"),
        (("strangle_shadow", "approve", "orders", rule, "--reason", "r"), "nothing was kept"),
        (("strangle_shadow", "add", "orders", "$.y", "--class", "changed"), "nothing was kept"),
        (("strangle_dead_letters", "replay", "orders"), "1 events of 1 aggregates would be handled again"),
        (("strangle_dead_letters", "skip", "orders", "--position", "4", "--reason", "r"), "nothing was touched"),
    ):
        assert says in told(*words, "--dry-run"), words
        assert facts() == before, words
    plan = json.loads(told("strangle_route", "set", "orders", "reads=25%", "--dry-run", "--format", "json"))
    done = json.loads(told("strangle_route", "set", "orders", "reads=25%", "--no-wait", "--format", "json"))
    assert plan["would_change"] == done["changes"] != []
    told("strangle_route", "forget", "edge-9")
    told("strangle_shadow", "approve", "orders", rule, "--reason", "r")
    told("strangle_dead_letters", "skip", "orders", "--position", "4", "--reason", "r")
    after = facts()
    assert [name for name in before if before[name] == after[name]] == []
    with pytest.raises(CommandError, match="has ever reported"):
        told("strangle_route", "forget", "edge-9", "--dry-run")


ENVELOPE: dict[str, Any] = {
    "eventId": "01890a5d-ac96-774b-bcce-b302099a8057",
    "aggregateId": "7",
    "aggregateType": "order",
    "eventType": "order.placed",
    "eventVersion": 1,
    "timestamp": "2026-11-29T12:00:00+00:00",
    "correlationId": None,
    "causationId": None,
    "payload": {},
    "metadata": {},
    "stream": "orders",
    "origin": "default",
    "position": 4,
}


def test_files_are_named_and_not_written(tmp_path: Path) -> None:
    words = ("strangle_service", "new", "orders", "--package", "made.orders", "--root", str(tmp_path))
    found = json.loads(told(*words, "--dry-run", "--format", "json"))
    assert "models.py" in found["files"]
    assert list(tmp_path.iterdir()) == []
    place = tmp_path / "playbook.py"
    assert told("strangle_init", "orders", "--output", str(place), "--dry-run").startswith('"""')
    assert not place.exists()
    contracts = tmp_path / "contracts"
    written = json.loads(
        told("strangle_contracts", "write", "--directory", str(contracts), "--dry-run", "--format", "json")
    )["written"]
    assert written
    assert all(path.startswith(str(contracts)) for path in written)
    assert not contracts.exists()
