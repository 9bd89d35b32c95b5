"""Pages with much and with hostile text in every name: it stays text, and pages stay small."""

from typing import Any

import pytest
from django.test import Client

from migration_tools.capture.projector import RelationProjector
from migration_tools.messaging.models import DeadLetter, DeadLetterLog
from migration_tools.messaging.relay import tick
from migration_tools.overview.observing import keep, observe
from migration_tools.routing.models import ProxyInstance
from migration_tools.routing.shadow.models import ShadowDifference, ShadowRoute
from migration_tools.state.models import Context, JournalEntry, Observation, Request, Verification
from migration_tools.state.phase import Phase
from migration_tools.stores.postgres import connect
from playbooks.orders import Orders
from tests.conftest import Pair
from tests.console.scene import MOVER, PASSWORD, make_staff
from tests.console.test_pages import PAGES
from tests.unit.test_reports import HOSTILE, SECRET, verification

MANY = 400
MEGABYTE = 1_000_000
#: What the pages read as something else than text.
MEANT = {"at", "seen", "phase", "standing", "version", "context", "owner", "wish", "gate"}


def spoiled(value: Any) -> Any:
    """The same document with hostile text in every text."""
    if isinstance(value, dict):
        return {key: each if key in MEANT else spoiled(each) for key, each in value.items()}
    if isinstance(value, list):
        return [spoiled(each) for each in value]
    return f"{value} {HOSTILE}" if isinstance(value, str) else value


@pytest.fixture
def flooded(pair: Pair) -> Client:
    """Staff before a context with very much of everything, all of it named by an enemy."""
    make_staff()
    Context.objects.create(name="orders", phase=Phase.SWITCH_READS)
    keep(observe(Orders))
    Context.objects.update(move=HOSTILE, move_started_at="2026-01-01T00:00Z")
    seen = Observation.objects.get(context="orders")
    use = {"table": "orders_order", "reads": 1, "writes": 2}
    user = {"role": "r", "application": "a", "table": "t", "writes": True, "ours": False, "times": 3, "seen": None}
    letter = {"done": False, "what": "w", "detail": "d"}
    seen.document |= {"uses": [use] * 30, "users": [user] * 200, "remaining": [letter] * 200, "plan": ["step"] * 50}
    seen.document = spoiled(seen.document)
    seen.save()
    report = verification(10 * MANY)
    for _ in range(60):
        Verification.objects.create(
            context="orders", direction="forward", rows=9, differences=report.differences, report={}
        )
    Verification.objects.create(
        context="orders", direction="forward", rows=9, differences=report.differences, report=report.to_json()
    )
    letters = [
        DeadLetter(
            stream="orders", position=n, aggregate_type=HOSTILE, aggregate_id=HOSTILE, reason=HOSTILE,
            envelope={"eventType": HOSTILE, "eventVersion": 1, "payload": {HOSTILE: SECRET}},
        )
        for n in range(MANY)
    ]  # fmt: skip
    DeadLetter.objects.bulk_create(letters)
    ended = {"event_id": "e", "event_type": HOSTILE, "outcome": "skipped", "actor": HOSTILE, "reason": HOSTILE}
    DeadLetterLog.objects.bulk_create([DeadLetterLog(stream="orders", position=n, **ended) for n in range(MANY)])
    entry = {"move": HOSTILE, "step": HOSTILE, "actor": HOSTILE, "reason": HOSTILE, "evidence": {HOSTILE: HOSTILE}}
    JournalEntry.objects.bulk_create([JournalEntry(context="orders", **entry) for _ in range(MANY)])
    asked = [
        Request(
            context="orders", ticket="t", nonce=str(n), title=HOSTILE, actor=HOSTILE, output=HOSTILE, state="failed"
        )
        for n in range(MANY)
    ]
    Request.objects.bulk_create(asked)
    ProxyInstance.objects.create(proxy=HOSTILE, rejected_reason=HOSTILE)
    ShadowRoute.objects.create(context="orders", pattern=HOSTILE, compared=9, different=9)
    ShadowDifference.objects.create(context="orders", pattern=HOSTILE, path=HOSTILE, kind="changed", count=9)
    with pair.connect("shop") as conn:
        conn.execute(
            """INSERT INTO strangle_outbox (stream, kind, event_id, event_type, aggregate_type, aggregate_id, payload,
                   correlation_id, metadata)
               SELECT 'orders', 'e', gen_random_uuid(), %(text)s, %(text)s, %(text)s,
                   jsonb_build_object(%(text)s::text, %(secret)s::text), %(text)s, '{}'
               FROM generate_series(1, %(many)s)""",
            {"text": HOSTILE, "secret": SECRET, "many": MANY},
        )
        conn.execute(
            """INSERT INTO saga_state (saga_id, saga_type, version, context, aggregate_type, aggregate_id, current_step,
                   max_steps, status, attempt, payload, steps_completed, steps_compensated, alarm, alarm_at)
               SELECT gen_random_uuid(), left(%(text)s, 50), 1, 'orders', %(text)s, %(text)s, 0, 2, 'running', 3,
                   jsonb_build_object(%(text)s::text, %(secret)s::text), jsonb_build_array(%(text)s::text), '[]',
                   %(text)s, now()
               FROM generate_series(1, %(many)s)""",
            {"text": HOSTILE, "secret": SECRET, "many": MANY},
        )
    with connect("default", "test") as conn:
        tick(conn, "orders", RelationProjector())
    staff = Client()
    assert staff.login(username=MOVER, password=PASSWORD)
    return staff


def test_much_and_hostile_text_stays_text_on_every_page_and_pages_stay_small(flooded: Client) -> None:
    last = Verification.objects.order_by("-id")[0].pk
    request = Request.objects.order_by("-id")[0].pk
    pages = PAGES | {
        "correlation": f"/strangle/console/orders/events/?correlation={HOSTILE}",
        "page 5": "/strangle/console/orders/journal/?page=5",
        "no class": f"/strangle/console/orders/verifications/{{last}}/?class={HOSTILE}",
        "request": f"/strangle/console/orders/requests/{request}/",
        "replay": f"/strangle/console/orders/ask/replay/?key={HOSTILE}",
        "back": "/strangle/console/orders/ask/back/",
        "retry": f"/strangle/console/orders/ask/retry/?saga={HOSTILE}",
    }
    silent = {"verifications", "chain"}  # they show nothing that a name is in
    for name, path in pages.items():
        answer: Any = flooded.get(path.replace("{last}", str(last)))
        text = answer.content.decode()
        assert answer.status_code in (200, 422), name
        assert "<img" not in text, name
        assert ("&lt;img src=x" in text) == (name not in silent), name
        assert SECRET not in text, name
        assert len(answer.content) < MEGABYTE, f"{name} has {len(answer.content):,} bytes"
        assert "style=" not in text, name
