"""Every state change that the console offers asks for the permission, the form's token and the words typed."""

import re
from typing import Any

import pytest
from django.test import Client

from migration_tools.console.moving import MAKERS
from migration_tools.state.models import Context, Request, RequestState
from migration_tools.state.phase import Phase
from tests.conftest import Pair
from tests.console.scene import MOVER, PASSWORD, WATCHER, make_staff

OVERVIEW = "/strangle/console/orders/"
#: Where the context stands when the wish makes sense; the others do in switch_reads.
PHASES = {"verify": Phase.BACKFILL, "pause": Phase.BACKFILL, "resume": Phase.BACKFILL, "cancel": Phase.BACKFILL}


@pytest.fixture
def saga(pair: Pair) -> str:
    with pair.connect("shop") as conn:
        row = conn.execute(
            """INSERT INTO saga_state (saga_id, saga_type, version, context, current_step, max_steps, status, attempt,
                   payload, steps_completed, steps_compensated, alarm_at)
               VALUES (gen_random_uuid(), 'handling', 1, 'orders', 0, 2, 'running', 3, '{}', '[]', '[]', now())
               RETURNING saga_id::text"""
        ).fetchone()
    assert row is not None
    return str(row[0])


def client(who: str | None = None) -> Client:
    made = Client(enforce_csrf_checks=True)
    if who is not None:
        assert made.login(username=who, password=PASSWORD)
    return made


@pytest.mark.parametrize("what", sorted(MAKERS))
def test_no_change_without_permission_token_and_the_words_typed(what: str, pair: Pair, saga: str) -> None:
    make_staff()
    Context.objects.create(name="orders", phase=PHASES.get(what, Phase.SWITCH_READS))
    place = f"{OVERVIEW}ask/{what}/"
    given = {"reason": "OPS-9", "saga": saga, "key": "order/Ab-7", "position": "41", "percent": "30"}
    mover = client(MOVER)
    page = mover.get(place, given)
    assert page.status_code == 200
    wanted = re.search(r"Type <code>(.+?)</code>", page.content.decode())
    assert wanted, f"{what} is asked for without anything typed"
    form = {**given, "phrase": wanted[1]}
    with_token = {"X-CSRFToken": mover.cookies["csrftoken"].value}

    assert client().post(place, form).status_code == 403
    assert mover.post(place, form).status_code == 403, "without the token of the form"
    watcher: Any = client(WATCHER)
    watcher.cookies["csrftoken"] = mover.cookies["csrftoken"].value
    assert watcher.post(place, form, headers=with_token).status_code == 403, "without the permission"
    assert watcher.get(place, given).status_code == 403
    for phrase in ("", "yes", wanted[1][:-1]):
        answer = mover.post(place, {**form, "phrase": phrase}, headers=with_token)
        assert (answer.status_code, "to confirm" in answer.content.decode()) == (422, True), phrase
    assert not Request.objects.exists()
    assert mover.post(place, form, headers=with_token).status_code == 302
    assert Request.objects.get().actor == f"{MOVER} (console)"


def test_a_command_is_stopped_with_permission_and_token_alone_because_it_keeps_its_checkpoint(pair: Pair) -> None:
    make_staff()
    row = Request.objects.create(
        context="orders", ticket="t", nonce="n", title="move", actor="a", state=RequestState.RUNNING
    )
    mover, place = client(MOVER), f"{OVERVIEW}requests/{row.pk}/stop/"
    mover.get(f"{OVERVIEW}requests/{row.pk}/")
    with_token = {"X-CSRFToken": mover.cookies["csrftoken"].value}
    watcher = client(WATCHER)
    watcher.cookies["csrftoken"] = mover.cookies["csrftoken"].value
    assert mover.post(place).status_code == 403
    assert watcher.post(place, headers=with_token).status_code == 403
    assert mover.get(place).status_code == 405
    assert Request.objects.count() == 1
    assert mover.post(place, headers=with_token).status_code == 302
    assert Request.objects.filter(title=f"stop request {row.pk}").exists()


def test_verifying_needs_no_words_where_it_moves_nothing(pair: Pair) -> None:
    make_staff()
    Context.objects.create(name="orders", phase=Phase.SWITCH_READS)
    mover = client(MOVER)
    assert "Type <code>" not in mover.get(f"{OVERVIEW}ask/verify/").content.decode()
