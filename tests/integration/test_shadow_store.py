"""What comparators tell adds up, rules are proposed and decided with reasons, and reports say what is open."""

import json
import threading
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connections, transaction
from django.test import override_settings

from migration_tools.checks import check_shadow
from migration_tools.routing import shadows
from migration_tools.routing.shadow.differences import DiffKind
from migration_tools.routing.shadow.models import ShadowDifference, ShadowRoute, ShadowRule
from migration_tools.routing.shadow.rules import all_approved
from migration_tools.routing.shadows import Place, Sample, Tally, read_compared, report_shadows
from migration_tools.state.models import JournalEntry

pytestmark = pytest.mark.usefixtures("pair")

LIST = ("orders", "/api/orders/")


def place(count: int = 0, ruled: int = 0, noise: int = 0) -> Place:
    return Place(
        count=count, ruled=ruled, noise=noise, samples=[Sample(owner="text of 3 characters", candidate="null")]
    )


def told(path: str, kind: DiffKind, **counts: int) -> None:
    report_shadows({LIST: Tally(compared=10, different=counts.get("count", 0), places={(path, kind): place(**counts)})})


def command(*args: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("strangle_shadow", *args, stdout=out, stderr=StringIO())
    except CommandError as error:
        return error.returncode, str(error)
    except SystemExit as leaving:
        return int(leaving.code or 0), out.getvalue()
    return 0, out.getvalue()


def test_comparators_that_tell_at_the_same_time_add_up() -> None:
    patterns = [("orders", f"/api/{name}/") for name in "abcd"]
    barrier = threading.Barrier(6)

    def tell(number: int) -> None:
        barrier.wait()
        order = patterns if number % 2 else patterns[::-1]
        for _ in range(5):
            one = {key: Tally(compared=2, different=1, skips={"r": 1}, places={("$.a", DiffKind.CHANGED): place(1)})
                   for key in order}  # fmt: skip
            report_shadows(one)
        connections.close_all()

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read_compared("orders")
    assert (found.compared, found.different) == (6 * 5 * 4 * 2, 6 * 5 * 4)
    assert [row.skips for row in ShadowRoute.objects.all()] == [{"r": 30}] * 4
    assert [row.count for row in ShadowDifference.objects.all()] == [30] * 4
    assert {len(row.samples) for row in ShadowDifference.objects.all()} == {shadows.SAMPLES_KEPT}


def test_a_service_with_endless_patterns_and_places_does_not_fill_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadows, "PATTERNS_MOST", 5)
    monkeypatch.setattr(shadows, "PLACES_MOST", 7)
    for number in range(20):
        places = {(f"$.k{number}{n}", DiffKind.CHANGED): place(1) for n in range(9)}
        report_shadows({("orders", f"/p{'x' * number}"): Tally(compared=1, places=places)})
    assert ShadowRoute.objects.count() == 6
    assert read_compared("orders").compared == 20
    assert ShadowDifference.objects.filter(path=shadows.OTHER).exists()
    assert sum(row.count for row in ShadowDifference.objects.all()) == 180


def test_rules_are_proposed_for_what_looks_like_noise_or_a_transform_and_for_nothing_else() -> None:
    told("$.results[*].total", DiffKind.CHANGED, count=3)
    told("$.rate", DiffKind.TYPE_OR_PRECISION, count=1)
    told("$.tags", DiffKind.ORDER, noise=4)
    told("$.state", DiffKind.CHANGED, count=2)
    told("status", DiffKind.STATUS, count=9)
    told("$.seen", DiffKind.CHANGED, count=1, noise=5)
    ShadowRoute.objects.update(compared=100)
    told("$.served_at", DiffKind.CHANGED, count=109)
    code, text = command("propose", "orders")
    assert code == 0
    proposed = {row.path: row for row in ShadowRule.objects.all()}
    assert proposed.keys() == {"$.results[*].total", "$.rate", "$.tags", "$.seen", "$.served_at"}
    assert proposed["$.tags"].action == "unordered"
    assert "the playbook transforms orders.Order.total" in proposed["$.results[*].total"].why
    assert all(row.state == "proposed" for row in proposed.values())
    assert all_approved() == {}
    assert text.count("\n") == 5
    assert "nothing to propose" in command("propose", "orders")[1], "each is proposed once"


def test_a_decision_needs_a_reason_is_journalled_and_can_be_taken_back() -> None:
    told("$.rate", DiffKind.TYPE_OR_PRECISION, count=1)
    command("propose", "orders")
    number = str(ShadowRule.objects.get().pk)
    assert command("approve", "orders", number, "--reason", " ")[0] == 1
    assert command("approve", "orders", "999", "--reason", "x")[0] == 1
    assert command("report", "orders")[0] == 3
    assert command("approve", "orders", number, "--reason", "clients parse both")[0] == 0
    assert [rule.path for rule in all_approved()["orders"]] == ["$.rate"]
    assert command("report", "orders")[0] == 0
    entry = JournalEntry.objects.get(context="orders", move="shadow rule")
    assert (entry.step, entry.reason, entry.evidence["path"]) == ("approved", "clients parse both", "$.rate")
    assert command("reject", "orders", number, "--reason", "the app breaks")[0] == 0
    assert all_approved() == {}
    assert command("report", "orders")[0] == 3


@pytest.mark.parametrize("kind", ["status", "write_attempted", "failed", "too_slow", "whatever"])
def test_no_rule_can_hide_a_status_neither_by_command_nor_by_hand(kind: str) -> None:
    code, text = command("add", "orders", "$.a", "--class", kind)
    assert (code, "cannot hide" in text) == (1, True)
    with pytest.raises(IntegrityError), transaction.atomic():
        ShadowRule.objects.create(context="orders", path="status", kind=kind, action="ignore")


def test_a_rule_by_hand_names_a_place() -> None:
    assert command("add", "orders", "$", "--class", "changed")[0] == 1
    assert command("add", "orders", "total", "--class", "changed")[0] == 1
    assert command("add", "orders", "$.a", "--class", "order", "--unordered", "--pattern", "/x")[0] == 0
    with pytest.raises(IntegrityError), transaction.atomic():
        ShadowRule.objects.update(state="approved")


def test_nothing_compared_is_not_clean() -> None:
    code, text = command("report", "orders")
    assert (code, "strangle_route set orders shadow=5%" in text) == (4, True)


def test_the_report_says_the_same_in_every_form_and_escapes_what_a_client_chose(tmp_path: Path) -> None:
    report_shadows(
        {
            LIST: Tally(compared=100),
            ("orders", "/api/<b>|x"): Tally(
                compared=50,
                different=4,
                late=2,
                dropped=1,
                skips={"the candidate is not guarded": 3},
                places={("$.<i>_a*", DiffKind.MISSING): place(4), ("$.now", DiffKind.CHANGED): place(noise=50)},
            ),
        }
    )
    code, text = command("report", "orders", "--format", "json", "--directory", str(tmp_path))
    document: dict[str, Any] = json.loads(text)
    assert code == 3
    assert (document["compared"], document["different"], document["late"], document["clean"]) == (150, 4, 2, False)
    assert [(each["path"], each["open"]) for each in document["differences"]] == [("$.<i>_a*", True), ("$.now", False)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "shadow-orders.html",
        "shadow-orders.json",
        "shadow-orders.md",
        "shadow-orders.xml",
    ]
    html = (tmp_path / "shadow-orders.html").read_text()
    assert "<script" not in html
    assert "<b>|x" not in html
    assert "&lt;i&gt;_a*" in html
    assert "1 place differs in 1 route" in html
    for form in ("text", "markdown", "html"):
        code, text = command("report", "orders", "--format", form)
        assert code == 3
        assert "150 reads compared" in text
        assert "in 4 of 50 reads" in text


def test_a_check_says_where_the_middleware_is_missing() -> None:
    with override_settings(MIGRATION_TOOLS={"PROXY": {"SHADOW": "127.0.0.1:1"}}):
        assert check_shadow(None) == []
        with override_settings(MIDDLEWARE=[]):
            (found,) = check_shadow(None)
            assert (found.id, ["is", "not", "in", "MIDDLEWARE"][-1] in found.msg) == ("strangle.W020", True)
        with override_settings(MIDDLEWARE=["x.Y", "migration_tools.routing.shadow.guard.ShadowMiddleware"]):
            (found,) = check_shadow(None)
            assert "not the first" in found.msg
    with override_settings(MIGRATION_TOOLS={}, MIDDLEWARE=[]):
        assert check_shadow(None) == []
