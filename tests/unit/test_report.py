"""The report model survives JSON, redacts by default and counts what it does not keep."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_tools.errors import StrangleError
from migration_tools.verification.report import (
    Difference,
    DifferenceKind,
    FieldDifference,
    TableResult,
    VerificationReport,
    shape,
    shares,
)
from migration_tools.verification.writing import write_report

SECRET = "anna@example.com"
FIELD = FieldDifference(
    column="remark", source=SECRET, target="", paths=['$["bob@example.com"].city'], note="x", type="text"
)


def table(differences: list[Difference], *, name: str = "sales_order", truncated: int = 0) -> TableResult:
    return TableResult(
        projection=name,
        source_table=f"from_{name}",
        target_table=name,
        rows_source=10,
        rows_target=9,
        differences=differences,
        truncated=truncated,
    )


def report(*tables: TableResult) -> VerificationReport:
    return VerificationReport(
        context="orders", direction="forward", position=7, started=1.5, seconds=0.25, tables=list(tables)
    )


def changed(key: str = "1", *fields: FieldDifference, kind: DifferenceKind = DifferenceKind.CHANGED) -> Difference:
    return Difference(table="sales_order", key=(key,), kind=kind, fields=list(fields))


FULL = report(
    table([changed("1", FIELD), changed("2", kind=DifferenceKind.MISSING)], truncated=3),
    table([], name="sales_orderitem"),
)

TEXT = st.text(max_size=8)
FIELDS = st.builds(
    FieldDifference,
    column=TEXT,
    source=st.none() | TEXT,
    target=st.none() | TEXT,
    paths=st.lists(TEXT),
    note=TEXT,
    type=TEXT,
)
DIFFERENCES = st.builds(
    Difference,
    table=TEXT,
    key=st.lists(TEXT, min_size=1, max_size=2).map(tuple),
    kind=st.sampled_from(DifferenceKind),
    fields=st.lists(FIELDS, max_size=2),
)


@given(found=st.lists(DIFFERENCES, max_size=3))
def test_the_json_form_reads_back(found: list[Difference]) -> None:
    whole = report(table(found), table([], name="other"))
    assert VerificationReport.from_json(json.loads(json.dumps(whole.to_json(reveal=True)))) == whole
    redacted = VerificationReport.from_json(json.loads(json.dumps(whole.to_json())))
    assert redacted == whole.redact()
    assert redacted.to_json(reveal=True) == redacted.to_json() == whole.to_json()


def test_the_json_form_has_what_others_read() -> None:
    document = FULL.to_json()
    assert document | {"tables": []} == {
        "kind": "verify",
        "version": 1,
        "context": "orders",
        "direction": "forward",
        "position": 7,
        "snapshots": 1,
        "started": 1.5,
        "seconds": 0.25,
        "redacted": True,
        "equal": False,
        "rows": 20,
        "count": 5,
        "truncated": 3,
        "by_class": {"missing": 1, "changed": 1},
        "tables": [],
        "differences": [
            {
                "projection": "sales_order",
                "table": "sales_order",
                "key": ["1"],
                "class": "changed",
                "fields": [
                    {
                        "column": "remark",
                        "type": "text",
                        "source": shape(SECRET, "text"),
                        "target": "",
                        "paths": [f'$["{shape("bob@example.com")}"].city'],
                        "note": "x",
                    }
                ],
            },
            {
                "projection": "sales_order",
                "table": "sales_order",
                "key": ["2"],
                "class": "missing",
                "fields": [],
            },
        ],
    }


def test_values_are_redacted_unless_revealed() -> None:
    assert "example.com" not in json.dumps(FULL.to_json())
    assert SECRET in json.dumps(FULL.to_json(reveal=True))


def test_a_shape_keeps_null_and_empty_apart() -> None:
    assert [shape(None), shape(""), shape("x", "jsonb")] == [None, "", "\u2039jsonb, 1 char\u203a"]
    assert shape("x" * 1200) == "\u2039text, 1,200 chars\u203a"


def test_what_was_not_kept_counts() -> None:
    assert (FULL.rows, FULL.differences, FULL.truncated, FULL.equal) == (20, 5, 3, False)
    assert report(table([])).equal


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"version": 2}, "version 2 cannot be read"),
        ({}, "version None cannot be read"),
        ({"version": 1, "context": "orders"}, "not a verification report"),
        (FULL.to_json() | {"differences": [{"projection": "sales_order"}]}, "not a verification report"),
    ],
)
def test_what_is_no_report_is_refused(document: dict[str, Any], message: str) -> None:
    with pytest.raises(StrangleError, match=message):
        VerificationReport.from_json(document)


def test_small_tables_are_shown_whole_before_large_ones() -> None:
    sizes = (100, 3, 0, 50)
    whole = report(*(table([changed()] * size, name=str(size)) for size in sizes))
    assert shares(whole, 1000) == list(sizes)
    assert shares(whole, 43) == [20, 3, 0, 20]


def test_every_format_is_written(tmp_path: Path) -> None:
    written = write_report(FULL, tmp_path / "var" / "reports", formats=("json", "md", "html", "txt"))
    assert {name: path.name for name, path in written.items()} == {
        name: f"verify-orders-forward-19700101T000001.500Z.{name}" for name in ("json", "md", "html", "txt")
    }
    assert sorted((tmp_path / "var" / "reports").iterdir()) == sorted(written.values())
    assert json.loads(written["json"].read_text(encoding="utf-8")) == FULL.to_json()
    for path in written.values():
        assert "example.com" not in path.read_text(encoding="utf-8")


def test_revealed_values_can_be_read_by_their_owner_only(tmp_path: Path) -> None:
    for path in write_report(FULL, tmp_path, formats=("json", "md", "html", "txt"), reveal=True).values():
        assert SECRET in path.read_text(encoding="utf-8")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_unknown_format_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="format 'pdf' is not known; choose from"):
        write_report(FULL, tmp_path, formats=("json", "pdf"))
    assert list(tmp_path.iterdir()) == []


def test_text_that_is_not_unicode_is_written_all_the_same(tmp_path: Path) -> None:
    odd = report(table([changed("\udc80", FieldDifference(column="\udc80", source="\udc80", target="x"))]))
    written = write_report(odd, tmp_path, formats=("json", "md", "html", "txt"), reveal=True)
    assert VerificationReport.from_json(json.loads(written["json"].read_text(encoding="utf-8"))) == odd
