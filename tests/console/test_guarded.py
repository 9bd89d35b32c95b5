"""Every state change that the console offers asks for the permission, the form's token and the words typed."""

import html
import re
from typing import Any

import pytest
from django.core import signing
from django.test import Client

from migration_tools.checks import check_service_commands
from migration_tools.conf import find_mistakes
from migration_tools.console.moving import MOVES, SETTLES
from migration_tools.errors import StrangleError
from migration_tools.overview.bystanders import keep_bystander, observe_bystander
from migration_tools.overview.requests import LOOKS_WAITING, OF_SERVICES, SALT, believe
from migration_tools.state.models import Context, Observation, Request, RequestState
from migration_tools.state.phase import Phase
from playbooks.orders import Orders
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


#: What may be asked of a service's own manage.py, too.
ELSEWHERE = ("replay", "skip", "retry", "compensate")


#: A service that no playbook names: nothing of it is the monolith's.
BESIDE = "gateway"


@pytest.fixture
def beside(settings: Any) -> str:
    named = {**settings.MIGRATION_TOOLS["SERVICE_COMMANDS"], BESIDE: ["python", "manage.py"]}
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "SERVICE_COMMANDS": named}
    return BESIDE


@pytest.mark.parametrize(
    ("what", "side", "name"),
    [
        *((what, "", "orders") for what in sorted({**MOVES, **SETTLES})),
        *((what, "service", "orders") for what in ELSEWHERE),
        *((what, "service", BESIDE) for what in ELSEWHERE),
        ("replay", "", BESIDE),
    ],
)
@pytest.mark.usefixtures("beside")
def test_no_change_without_permission_token_and_the_words_typed(
    what: str, side: str, name: str, pair: Pair, saga: str
) -> None:
    make_staff()
    if side:
        known = [{"saga": {"saga_id": saga, "saga": "handling"}, "log": []}]
        document = {"status": {"phase": "monolith_only"}, "service": {"sagas": known}}
        Observation.objects.create(context=name, document=document)
    Context.objects.create(name="orders", phase=PHASES.get(what, Phase.SWITCH_READS))
    place = f"/strangle/console/{name}/ask/{what}/"
    given = {"reason": "OPS-9", "saga": saga, "key": "order/Ab-7", "position": "41", "percent": "30", "side": side}
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
    asked = Request.objects.get()
    assert asked.actor == f"{MOVER} (console)"
    there = bool(side) or name == BESIDE
    assert (asked.context, believe(asked).service) == (name, there)
    assert wanted[1].endswith(" in the service") == there


@pytest.mark.parametrize("what", sorted(MOVES))
def test_a_service_beside_the_contexts_is_asked_for_no_move(what: str, beside: str, pair: Pair) -> None:
    make_staff()
    mover = client(MOVER)
    place = f"/strangle/console/{beside}/ask/"
    assert mover.get(f"{place}replay/?key=order/7").status_code == 200
    with_token = {"X-CSRFToken": mover.cookies["csrftoken"].value}
    form = {"reason": "OPS-9", "phrase": f"roll back {beside}"}
    assert mover.get(f"{place}{what}/").status_code == 404
    assert mover.post(f"{place}{what}/", form, headers=with_token).status_code == 404
    assert not Request.objects.exists()


def test_pages_of_a_service_beside_the_contexts_say_what_is_not_known(beside: str, pair: Pair) -> None:
    make_staff()
    watcher, place = client(WATCHER), f"/strangle/console/{beside}/"
    unseen = {page: watcher.get(f"{place}{page}").content.decode() for page in ("", "letters/", "sagas/", "events/")}
    assert "has not seen this side" in unseen["letters/"]
    assert "has not seen this side" in unseen["sagas/"]
    keep_bystander(observe_bystander(beside))
    page = watcher.get(place).content.decode()
    assert f"database alias {beside!r} is not in settings.DATABASES" in html.unescape(page), "said, and nothing raised"
    assert "monolith" not in watcher.get(f"{place}letters/").content.decode().partition("<main")[2].lower()
    assert watcher.get(f"{place}journal/").status_code == 200
    for page in ("traffic/", "decommission/", "verifications/"):
        assert watcher.get(f"{place}{page}").status_code == 404, page


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


@pytest.mark.parametrize("commands", [True, False])
def test_a_service_s_parked_events_are_offered_where_something_says_how_its_manage_py_is_run(
    commands: bool, pair: Pair, saga: str
) -> None:
    make_staff()
    letter = {
        "stream": "catalog", "group": "products", "position": 41, "key": "product/7", "event_id": "0199", "type": "t",
        "version": 1, "reason": "r", "attempts": 1, "at": "2026-11-30T10:00:00+00:00", "shape": {},
        "correlation": "c/1",
    }  # fmt: skip
    known = {"place": "orders", "commands": commands, "letters": [letter], "ended": [], "sagas": None, "latest": []}
    Observation.objects.create(context="orders", document={"status": {"phase": "verify"}, "service": known})
    page = client(MOVER).get(f"{OVERVIEW}letters/").content.decode()
    asked = "?group=products&amp;event=0199&amp;side=service&amp;stream=catalog&amp;"
    assert (f"{asked}key=product%2F7" in page, f"{asked}position=41" in page) == (commands, commands)
    assert ("SERVICE_COMMANDS" in page) != commands
    assert "?correlation=c%2F1" in page, "what it belongs to is shown to everybody"
    sagas = client(WATCHER).get(f"{OVERVIEW}sagas/").content.decode()
    assert ("It keeps no sagas." in sagas, saga in sagas) == (True, True)
    overview = " ".join(client(WATCHER).get(OVERVIEW).content.decode().split())
    assert '<b class="bad">1</b> in the service' in overview


def test_a_look_for_a_chain_needs_staff_and_token_and_stops_nothing_else(pair: Pair) -> None:
    make_staff()
    place, form = f"{OVERVIEW}events/", {"correlation": "c-1"}
    watcher = client(WATCHER)
    assert "The monolith’s side alone" in watcher.get(place, form).content.decode()  # noqa: RUF001
    with_token = {"X-CSRFToken": watcher.cookies["csrftoken"].value}
    assert client().post(place, form, headers=with_token).status_code == 403
    assert watcher.post(place, form).status_code == 403, "without the token of the form"
    assert not Request.objects.exists()
    answer = watcher.post(place, form, headers=with_token)
    assert (answer.status_code, answer.headers["location"]) == (302, f"{place}?correlation=c-1")
    assert "The services are being asked" in watcher.get(place, form).content.decode()
    watcher.post(place, form, headers=with_token)
    row = Request.objects.get()
    assert (row.context, believe(row).command, believe(row).arguments) == ("", "strangle_chain", ["--", "c-1"])
    for number in range(1, LOOKS_WAITING):
        watcher.post(place, {"correlation": f"more-{number}"}, headers=with_token)
    refused = watcher.post(place, {"correlation": "one-more"}, headers=with_token)
    assert "looks for other chains wait" in refused.content.decode()
    assert Request.objects.count() == LOOKS_WAITING
    assert "look for" not in watcher.get(OVERVIEW).content.decode(), "a look concerns no context"


def test_without_the_right_to_ask_the_explorer_shows_this_side_and_says_so(pair: Pair) -> None:
    make_staff()
    watcher = client(WATCHER)
    place = f"{OVERVIEW}events/"
    watcher.get(place)
    with pair.connect("shop") as conn:
        conn.execute("ALTER TABLE strangle_request ADD CHECK (context <> '')")  # as a REVOKE does for the application
    answer = watcher.post(place, {"correlation": "c-1"}, headers={"X-CSRFToken": watcher.cookies["csrftoken"].value})
    assert (answer.status_code, "may not ask" in answer.content.decode()) == (200, True)


@pytest.mark.parametrize("command", ["strangle_cutover", "strangle_rollback", "strangle_chain", "flush"])
def test_no_service_is_asked_for_more_than_its_events_and_sagas(command: str) -> None:
    said = {"context": "orders", "command": command, "arguments": ["orders"], "actor": "m", "nonce": "n"}
    row = Request(ticket=signing.dumps({**said, "service": True}, salt=SALT), nonce="n")
    with pytest.raises(StrangleError, match="another request"):
        believe(row)
    assert command not in OF_SERVICES


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"orders": ["ssh", "orders", "manage.py"]}, "hands words to a shell"),
        ({"orders": ["/bin/bash", "-c", "manage.py"]}, "hands words to a shell"),
        ({"orders": "python manage.py"}, "a list of words"),
        ({"orders": [1]}, "a list of words"),
        ({"a/b": ["env"]}, "without a slash"),
        ({"": ["env"]}, "without a slash"),
        (["orders"], "a dict of services"),
    ],
)
def test_a_way_to_a_service_s_manage_py_that_a_typed_reason_could_abuse_is_refused(given: object, says: str) -> None:
    assert [says in each for each in find_mistakes({"SERVICE_COMMANDS": given})] == [True]
    assert find_mistakes({"SERVICE_COMMANDS": {"orders": ["env", "A=b", "python", "manage.py"], "gateway": []}}) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("default", ("strangle.E174", "a database of the monolith")),
        ("orders_service", ("strangle.E174", "the database of context 'orders'")),
        ("gatewey", ("strangle.W174", "neither a context nor in DATABASES")),
        ("gateway", None),
        ("orders", None),
    ],
)
def test_a_name_that_is_no_service_s_is_found_by_a_check(
    name: str, says: tuple[str, str] | None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alias = "orders_service" if name == "orders_service" else "orders"
    monkeypatch.setattr(Orders, "target", alias)
    for seen in (alias, "gateway"):
        monkeypatch.setitem(settings.DATABASES, seen, settings.DATABASES["default"])
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "SERVICE_COMMANDS": {name: []}}
    found = check_service_commands(None)
    assert [(each.id, says[1] in each.msg) for each in found if says] == ([(says[0], True)] if says else [])
    assert bool(found) == bool(says)
    monkeypatch.delitem(settings.DATABASES, alias)
    assert "strangle.W174" not in {each.id for each in check_service_commands(None)}, "a web process cannot tell"
