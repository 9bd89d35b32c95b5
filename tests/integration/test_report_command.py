"""strangle_report: what is kept of a context, audited, in every format; each flaw of a record is found."""

import datetime as dt
import json
import re
from collections.abc import Callable
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from migration_tools.errors import ExitCode
from migration_tools.messaging.models import DeadLetter, DeadLetterLog
from migration_tools.reports.kinds import Format, Kind, schema_of
from migration_tools.state.journal import read_context, record
from migration_tools.state.models import Context, JournalEntry, Verification
from migration_tools.verification.report import VerificationReport
from tests.conftest import Pair

HANDED = {"epoch": 3, "drained_events": 2, "attempts": 1, "pause_ms": 41.5, "position": 9, "proxies": 2, "seconds": 1.0}
SECRET = "ada@example.com"


def report(kind: str, *args: str) -> tuple[int, str]:
    """Exit code and what was printed."""
    out = StringIO()
    try:
        call_command("strangle_report", kind, "orders", *args, stdout=out, stderr=StringIO())
    except CommandError as error:
        return error.returncode, str(error)
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue()
    return 0, out.getvalue()


def verified(differences: int = 0) -> Verification:
    found = VerificationReport(context="orders", direction="forward", position=7, started=1.5, seconds=0.2, tables=[])
    return Verification.objects.create(
        context="orders", direction="forward", rows=9, differences=differences, report=found.to_json()
    )


@pytest.fixture
def road(pair: Pair) -> None:
    """A context that went as far as the cutover, back, and forth again, with everything in order."""
    read_context("orders")
    for move, step, evidence in (
        ("to dual_write", "completed", {}),
        ("backfill", "copied", {"rows": 9}),
        ("to backfill", "completed", {"rows": 9}),
    ):
        record("orders", move, "started" if step == "completed" else step, evidence if step == "copied" else {})
        if step == "completed":
            record("orders", move, step, evidence)
    for _ in range(2):
        verified()
    for move, step in (
        ("to verify", "completed"),
        ("to switch_reads", "completed"),
        ("to cutover", "handed_over"),
        ("undo cutover", "handed_over"),
        ("to cutover", "handed_over"),
    ):
        record("orders", move, "started", reason="CHG-7")
        if move == "undo cutover":
            record("orders", move, "broken", {"error": f"OperationalError: Key (email)=({SECRET}) exists"})
        record("orders", move, step, HANDED if step == "handed_over" else {}, "CHG-7")
    Context.objects.filter(name="orders").update(phase="cutover")


def test_each_kind_is_printed_in_each_format_and_holds_no_value(road: None, tmp_path: Path) -> None:
    for kind, form in product(("verify", "cutover", "audit"), Format):
        code, text = report(kind, "--format", form)
        assert (code, SECRET in text.replace("<wbr>", "")) == (0, False), form
        if form is Format.JSON:
            jsonschema.validate(json.loads(text), schema_of(Kind(kind)))
        if form is Format.JUNIT:
            suites = ElementTree.fromstring(text)  # noqa: S314  (made here)
            assert suites.get("failures") == "0"
        place = tmp_path / kind / str(form)
        report(kind, "--format", form, "--output", str(place))
        again, once = (re.sub(r"\d\d:\d\d:\d\d[.\d]*", "", each) for each in (place.read_text(), text))
        assert again == once
    assert "41.5 ms" in report("cutover")[1]


def test_a_verification_shows_values_to_who_says_why_alone(road: None) -> None:
    """Else its entry in the journal would fail the audit for good."""
    for words in ((), ("--reason", " ")):
        with pytest.raises(CommandError, match="--reveal needs --reason: who shows values says why") as refused:
            call_command("strangle_verify", "orders", "--reveal", *words)
        assert refused.value.returncode == ExitCode.USAGE
    assert not JournalEntry.objects.filter(step="revealed").exists()
    assert report("audit")[0] == 0


def test_values_are_shown_to_who_says_why_and_that_is_journalled(road: None, tmp_path: Path) -> None:
    place = tmp_path / "cutover.html"
    code, said = report("cutover", "--reveal", "--output", str(place))
    assert (code, "--reason" in said, place.exists()) == (2, True, False)
    report("cutover", "--reveal", "--reason", "OPS-1", "--format", "html", "--output", str(place))
    assert SECRET in place.read_text().replace("<wbr>", "")
    assert place.stat().st_mode & 0o777 == 0o600
    entry = JournalEntry.objects.get(context="orders", step="revealed")
    assert (entry.reason, entry.evidence) == ("OPS-1", {"kind": "cutover"})


def test_nothing_to_report_yet_is_no_success(pair: Pair) -> None:
    assert [report(kind)[0] for kind in ("verify", "shadow", "cutover", "audit")] == [4, 4, 4, 4]
    assert report("verify", "--format", "html")[1].endswith("run strangle_verify orders")


def _parked() -> None:
    DeadLetter.objects.create(
        stream="orders", position=1, aggregate_type="o", aggregate_id="1", envelope={}, reason="x"
    )


def _given_up() -> None:
    DeadLetterLog.objects.create(
        stream="orders", position=1, event_id="e", event_type="t", outcome="skipped", actor="ada"
    )


def _moved_after_differences() -> None:
    bad = verified(3)
    first = JournalEntry.objects.get(move="to switch_reads", step="started")
    Verification.objects.filter(pk=bad.pk).update(at=first.at - dt.timedelta(milliseconds=1))
    # Later than those that were equal, and before the move.
    Verification.objects.exclude(pk=bad.pk).update(at=first.at - dt.timedelta(seconds=1))
    verified()


FLAWS: dict[str, tuple[str, Callable[[], Any]]] = {
    "a phase that was jumped over": ("road", lambda: JournalEntry.objects.filter(move="to verify").delete()),
    "a phase that nobody moved to": ("road", lambda: Context.objects.update(phase="decommission")),
    "a move that has not ended": ("ended", lambda: Context.objects.update(move="undo cutover")),
    "reads that moved without a verification": ("verified_before", lambda: Verification.objects.all().delete()),
    "reads that moved after differences": ("verified_before", _moved_after_differences),
    "a last verification with differences": ("verified_since", lambda: verified(2)),
    "a repair that nobody verified": ("verified_since", lambda: record("orders", "verify", "repaired", {"keys": 1})),
    "a move that broke off": ("unbroken", lambda: record("orders", "to decommission", "broken", {"error": "E: x"})),
    "an event that is parked": ("parked", _parked),
    "an event given up without a reason": ("reasons", _given_up),
    "values shown without a reason": ("revealed", lambda: record("orders", "verify", "revealed")),
}


def test_the_audit_finds_every_record_that_does_not_hold_together(road: None) -> None:
    for flaw, (check, plant) in FLAWS.items():
        with transaction.atomic():
            plant()
            code, text = report("audit", "--format", "json")
            wrong = [each["id"] for each in json.loads(text)["checks"] if not each["holds"]]
            assert (code, wrong) == (3, [check]), flaw
            assert "WRONG" in report("audit")[1]
            transaction.set_rollback(True)
        assert report("audit")[0] == 0, flaw

    with pytest.raises(CommandError, match="use text or json") as refused:
        call_command("strangle_cutover", "orders", "--dry-run", "--format", "html", stdout=StringIO())
    assert refused.value.returncode == 2
