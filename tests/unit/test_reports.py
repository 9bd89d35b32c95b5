"""Every kind of report in every format: its own schema, whole pages below a megabyte, well-formed XML, no value."""

import json
import re
from dataclasses import replace
from functools import cache
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest

from migration_tools.analysis.plan import pairs_of, plan_of
from migration_tools.analysis.report import Analysis, ContextFacts, Verdict
from migration_tools.management.reports import RENDERERS, render
from migration_tools.reports.audit import AuditReport, Check, Deed
from migration_tools.reports.cutover import CutoverReport, Failure, HandOverRecord
from migration_tools.reports.kinds import VERSIONS, Format, Kind, schema_of
from migration_tools.routing.shadow.differences import DiffKind
from migration_tools.routing.shadow.patterns import revealed, shape, without_values
from migration_tools.routing.shadow.report import PlaceResult, RouteResult, RuleResult, ShadowReport
from migration_tools.verification.report import (
    Difference,
    DifferenceKind,
    FieldDifference,
    TableResult,
    VerificationReport,
)
from tests.unit.test_cut_plan import finding, saga
from tests.unit.test_report_rendering import Page

SECRET = "anna@example.com"
HOSTILE = "<img src=x onerror=alert(1)> | \x1b[2J `code` \u202e"
MANY = 3_000
AT = "2026-11-29 12:00:00 UTC"


@cache
def report_of(kind: Kind, rows: int = 3) -> Any:
    """A report that is not clean, with secrets where values are and hostile text where names are."""
    makers = {
        Kind.ANALYZE: analysis,
        Kind.VERIFY: verification,
        Kind.SHADOW: shadow,
        Kind.CUTOVER: cutover,
        Kind.AUDIT: audit,
    }
    return makers[kind](rows)


def analysis(rows: int) -> Analysis:
    found = [finding("SFA106", "a", "b", tables=(HOSTILE,)) for _ in range(rows)] + saga("buy", "b", "c")
    contexts = tuple(ContextFacts(name=name, tables=(f"{name}_t",), team=HOSTILE) for name in ("a", "b", "c"))
    return Analysis(
        project="shop",
        made_at=AT,
        contexts=contexts,
        findings=tuple(found),
        pairs=tuple(pairs_of(found)),
        plan=tuple(plan_of(found, ["a", "b", "c"])),
        verdict=Verdict(answer="cut", first="a", reasons=(HOSTILE,)),
        clusters=(("a", "b"), ("c",)),
        sources=("code",),
    )


def verification(rows: int) -> VerificationReport:
    fields = [FieldDifference(column=HOSTILE, source=SECRET * 40, target=None, type="text", paths=['$["x"]'])]
    found = [
        Difference(table="sales_order", key=(str(number), HOSTILE), kind=DifferenceKind.CHANGED, fields=fields)
        for number in range(rows)
    ]
    table = TableResult(
        projection="p", source_table="old", target_table=HOSTILE, rows_source=9, rows_target=8, differences=found
    )
    return VerificationReport(
        context="orders", direction="forward", position=7, started=1.5, seconds=0.2, tables=[table]
    )


def shadow(rows: int) -> ShadowReport:
    route = RouteResult(
        pattern=HOSTILE, compared=9, different=3, late=1, dropped=0, skips={}, first_seen=AT, last_seen=AT
    )
    idle = replace(route, pattern="/idle/", compared=0, different=0, late=0, skips={"too large": 2})
    places = [
        PlaceResult(
            pattern=HOSTILE, path=f"$.{HOSTILE}[{number}]", kind=DiffKind.CHANGED, count=3, ruled=0, noise=0,
            samples=[{"owner": revealed(SECRET), "candidate": shape(SECRET)}], first_seen=AT, last_seen=AT, rule=None,
        )
        for number in range(rows)
    ]  # fmt: skip
    rule = RuleResult(
        number=1, pattern="", path="$.x", kind="changed", action="ignore", state="proposed", why=HOSTILE, reason="",
        actor="ada",
    )  # fmt: skip
    return ShadowReport(context="orders", at=AT, routes=[route, idle], places=places, rules=[rule])


def cutover(rows: int) -> CutoverReport:
    done = HandOverRecord(
        entry=7, move="to cutover", to="service", began=AT, at=AT, actor="ada", reason=HOSTILE, epoch=3, position=11,
        drained=2, attempts=1, proxies=2, pause_ms=41.5, seconds=1.25,
    )  # fmt: skip
    failed = Failure(at=AT, step="broken", kind="OperationalError", error=f"Key (email)=({SECRET}) exists")
    return CutoverReport(
        context="orders", at=AT, phase="cutover", open_move="undo cutover",
        hand_overs=[replace(done, entry=number) for number in range(rows)], failures=[failed] * rows,
    )  # fmt: skip


def audit(rows: int) -> AuditReport:
    deed = Deed(
        entry=1, at=AT, move="to backfill", step="broken", actor="ada", reason=HOSTILE, figures={"rows": 3.0},
        error=f"Key (email)=({SECRET}) exists",
    )  # fmt: skip
    checks = [Check(id="road", says=HOSTILE, wrong=["w1", "w2"]), Check(id="parked", says="none"), Check(
        id="ended", says="idle", idle="nothing was begun")]  # fmt: skip
    return AuditReport(context="orders", at=AT, phase="backfill", checks=checks, deeds=[deed] * rows)


CELLS = [(kind, form) for kind in Kind for form in Format]


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_is_rendered_in_every_format(kind: Kind) -> None:
    assert set(RENDERERS[kind]) == set(Format)
    assert set(RENDERERS) == set(Kind)


@pytest.mark.parametrize(("kind", "form"), CELLS)
@pytest.mark.parametrize("rows", [3, MANY])
def test_no_value_leaves_unless_it_is_asked_for(kind: Kind, form: Format, rows: int) -> None:
    text = render(kind, report_of(kind, rows), form)
    assert "anna" not in text
    if kind is not Kind.ANALYZE and form is Format.JSON:
        assert SECRET in render(kind, report_of(kind, rows), form, reveal=True)


@pytest.mark.parametrize("kind", Kind)
def test_json_is_what_the_schema_of_its_kind_and_version_says_no_more_and_no_less(kind: Kind) -> None:
    schema = schema_of(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    document = json.loads(render(kind, report_of(kind), Format.JSON))
    jsonschema.validate(document, schema)
    assert (document["kind"], document["version"]) == (kind, VERSIONS[kind])
    assert set(document) == set(schema["properties"]) == set(schema["required"])
    for other in set(Kind) - {kind}:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document, schema_of(other))
    for name in document:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({key: value for key, value in document.items() if key != name}, schema)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("rows", [0, MANY])
def test_a_page_is_whole_below_a_megabyte_asks_for_nothing_and_runs_nothing(kind: Kind, rows: int) -> None:
    text = render(kind, report_of(kind, rows), Format.HTML)
    assert len(text.encode()) < 1_000_000
    assert "default-src 'none'" in text
    assert not re.search(r"<script|<link|<img|@import|url\(|https?:", text)
    page = Page(text)
    assert [tag for tag, _ in page.tags].count("h1") == 1
    assert not any(name.startswith("on") or name == "src" for _, attributes in page.tags for name in attributes)


@pytest.mark.parametrize("kind", Kind)
def test_junit_is_well_formed_and_says_what_is_wrong(kind: Kind) -> None:
    suites = ElementTree.fromstring(render(kind, report_of(kind, MANY), Format.JUNIT))  # noqa: S314  (made here)
    suite = suites.find("testsuite")
    assert suite is not None
    cases = suite.findall("testcase")
    failures = [case for case in cases if case.find("failure") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    assert (suite.get("tests"), suite.get("failures")) == (str(len(cases)), str(len(failures)))
    assert suite.get("skipped") == str(len(skipped))
    assert len(failures) >= 1


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("form", [Format.TEXT, Format.MARKDOWN])
def test_lines_hold_nothing_that_moves_a_cursor(kind: Kind, form: Format) -> None:
    text = render(kind, report_of(kind), form)
    assert all(line.isprintable() for line in text.split("\n"))
    if form is Format.MARKDOWN and kind in {Kind.CUTOVER, Kind.AUDIT}:
        assert "<img" not in text


@pytest.mark.parametrize("value", [None, True, 12, 1.5, "", "2026-01-01", "anna", [1], {"a": 1}, "é" * 300])
def test_a_shape_stays_what_it_is_and_a_revealed_value_does_not(value: Any) -> None:
    assert without_values(shape(value)) == shape(value)
    if value is not None:
        assert without_values(revealed(value)) != revealed(value)
