"""A verification as JUnit's XML: a test a table, redacted, well-formed whatever the rows hold."""

from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from migration_tools.verification.render_junit import render_junit
from migration_tools.verification.report import Difference, DifferenceKind, FieldDifference, TableResult
from migration_tools.verification.report import VerificationReport as Report


def table(name: str, differences: list[Difference], *, truncated: int = 0) -> TableResult:
    return TableResult(
        projection=name, source_table=f"old_{name}", target_table=name, rows_source=10, rows_target=10,
        differences=differences, truncated=truncated,
    )  # fmt: skip


def changed(key: str, value: str) -> Difference:
    fields = [FieldDifference(column="email", source=value, target="x", type="text")]
    return Difference(table="orders", key=(key,), kind=DifferenceKind.CHANGED, fields=fields)


def rendered(*tables: TableResult, **options: bool) -> ElementTree.Element:
    report = Report(context="orders", direction="forward", position=9, started=1.5, seconds=2.0, tables=list(tables))
    return ElementTree.fromstring(render_junit(report, **options))  # noqa: S314  (made a line above)


def test_each_table_is_a_test_and_one_that_differs_fails() -> None:
    suites = rendered(table("lines", []), table("orders", [changed("7", "ada@example.com")], truncated=60))
    cases = {case.get("name"): case for case in suites.iter("testcase")}
    assert suites.get("tests") == "2"
    assert suites.get("failures") == "1"
    assert cases["old_lines to lines"].find("failure") is None
    failure = cases["old_orders to orders"].find("failure")
    assert failure is not None
    assert failure.get("message") == "61 differ: changed 1"
    assert "orders 7 changed email" in (failure.text or "")
    assert "… and 60 more" in (failure.text or "")
    assert "ada@example.com" not in ElementTree.tostring(suites, encoding="unicode")


@settings(max_examples=60, deadline=None)
@given(st.text(), st.text())
def test_no_value_breaks_the_document(key: str, value: str) -> None:
    suites = rendered(table("orders", [changed(key, value)]), reveal=True)
    assert len(list(suites.iter("testcase"))) == 1
