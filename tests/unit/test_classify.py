"""Rows that differ are classed and drilled to the field; rows that are equal are not reported."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_tools.verification.classify import PATHS_AT_MOST, classify, same_value
from migration_tools.verification.report import Difference, DifferenceKind

BY_VALUE = ["numeric", "numeric(12,2)", "real", "double precision"]
BY_TEXT = [
    "bigint", "text", "character varying(8)", "character(3)", "jsonb", "json", "timestamp with time zone",
    "time without time zone", "date", "boolean", "uuid", "bytea", "text[]", "",
]  # fmt: skip
TYPES = BY_VALUE + BY_TEXT
AWKWARD = [
    "", "0", "-0", "1.50", "1.5", "NaN", "Infinity", "1e-07", "t", "null", "[true]", "[1]", '{"a": 1}',
    '{"a": 1.0}', "2026-01-01 00:00:00+00", "2026-01-01 00:00:00.5+00", "infinity",
    "0044-03-15 00:00:00+00 BC", "12:00:00", "\\x00",
]  # fmt: skip
VALUES = st.none() | st.text(max_size=20) | st.sampled_from(AWKWARD)
ZONED = "timestamp with time zone"


def pair(source: str | None, target: str | None, type_: str) -> Difference | None:
    return classify("t", ("1",), ["v"], {"v": type_}, (source,), (target,))


def found(source: str | None, target: str | None, type_: str) -> Difference:
    difference = pair(source, target, type_)
    assert difference is not None
    return difference


@given(row=st.lists(VALUES, max_size=5), types=st.lists(st.sampled_from(TYPES), min_size=5, max_size=5))
def test_a_row_equals_itself(row: list[str | None], types: list[str]) -> None:
    columns = [f"c{n}" for n in range(len(row))]
    kinds = dict(zip(columns, types, strict=False))
    assert classify("t", ("1",), columns, kinds, tuple(row), tuple(row)) is None


@given(type_=st.sampled_from(TYPES), other=st.text(max_size=5))
def test_null_equals_nothing_but_null(type_: str, other: str) -> None:
    for source, target in ((None, other), (other, None)):
        assert found(source, target, type_).kind is DifferenceKind.CHANGED


@given(type_=st.sampled_from(BY_TEXT), a=VALUES, b=VALUES)
def test_texts_that_differ_are_always_detected(type_: str, a: str | None, b: str | None) -> None:
    if a != b:
        assert found(a, b, type_).kind is found(b, a, type_).kind


@given(type_=st.sampled_from(TYPES), a=VALUES, b=VALUES)
def test_detection_does_not_depend_on_the_side(type_: str, a: str | None, b: str | None) -> None:
    one, other = pair(a, b, type_), pair(b, a, type_)
    assert (one and one.kind) == (other and other.kind)
    assert (one is None) == same_value(a, b, type_)


FINITE = st.decimals(allow_nan=False, allow_infinity=False, places=4)


@given(a=FINITE, b=FINITE)
def test_numbers_that_differ_are_always_detected(a: object, b: object) -> None:
    assert (pair(f"{a:f}", f"{b:f}", "numeric") is None) == (a == b)


@pytest.mark.parametrize(
    ("source", "target", "type_"),
    [
        ("1.50", "1.5", "numeric"),
        ("NaN", "NaN", "numeric(12,2)"),
        ("-0", "0", "double precision"),
        ("1e+20", "100000000000000000000", "double precision"),
        ("0.1", "0.10000000149011612", "real"),
        (None, None, "text"),
    ],
)
def test_values_that_are_equal_by_their_type_are_not_reported(
    source: str | None, target: str | None, type_: str
) -> None:
    assert pair(source, target, type_) is None


@pytest.mark.parametrize(
    ("source", "target", "type_", "note"),
    [
        ("12.34", "12.3", "numeric", "apart by 0.04"),
        ("12.5", "12", "numeric", "apart by 0.5"),
        ("0.1", "0.10000000149011612", "double precision", "equal in single precision"),
        ("2026-01-01 00:00:00.123456+00", "2026-01-01 00:00:00.123+00", ZONED, "apart by 456 µs"),
        ("2026-01-01 00:00:00", "2026-01-01 00:00:00.000001", "timestamp(6)", "apart by 1 µs"),
        ("12:00:00.5", "12:00:00", "time without time zone", "apart by 500,000 µs"),
        ("EUR", "EUR  ", "character(5)", "trailing white space only"),
        ("gift", "gift ", "text", "trailing white space only"),
        ("caf\u00e9", "cafe\u0301", "text", "Unicode normalisation only"),
        ("abcdefghij", "abcdefgh", "character varying(8)", "cut at the column's 8 characters"),
        ('{"a": 1.50}', '{"a": 1.5}', "jsonb", "the same JSON value, spelled otherwise"),
        ('{"b":1,"a":2}', '{"a": 2, "b": 1}', "json", "the same JSON value, spelled otherwise"),
    ],
)  # fmt: skip
def test_slight_differences_are_of_precision_or_type(source: str, target: str, type_: str, note: str) -> None:
    difference = found(source, target, type_)
    assert (difference.kind, difference.fields[0].note) == (DifferenceKind.PRECISION_OR_TYPE, note)


@pytest.mark.parametrize(
    ("source", "target", "type_", "note"),
    [
        ("12.34", "12.35", "numeric(12,2)", "apart by 0.01"),
        ("1234", "1235", "bigint", "apart by 1"),
        ("NaN", "0", "numeric", ""),
        ("1.5", "1.6", "double precision", "apart by 0.1"),
        ("", None, "text", "NULL is not ''"),
        ("x", None, "text", "NULL on one side only"),
        ("abcdefgh", "abcdefg", "text", "from character 8 on"),
        ("Anna", "ANNA", "text", "letter case only"),
        ("2026-01-01 02:00:00+00", "2026-01-01 00:00:00+00", ZONED, "apart by 2:00:00; a time zone lost?"),
        ("infinity", "2026-01-01 00:00:00+00", ZONED, ""),
        ("t", "f", "boolean", ""),
        ("[", "{", "jsonb", "not JSON"),
    ],
)  # fmt: skip
def test_other_differences_are_changes(source: str, target: str | None, type_: str, note: str) -> None:
    difference = found(source, target, type_)
    assert (difference.kind, difference.fields[0].note) == (DifferenceKind.CHANGED, note)


@pytest.mark.parametrize(
    ("source", "target", "paths"),
    [
        ('{"a": {"b": [1, 2]}}', '{"a": {"b": [1, 3]}}', ["$.a.b[1]"]),
        ('{"a": null}', "{}", ["$.a"]),
        ("{}", '{"an e-mail": 1}', ['$["an e-mail"]']),
        ('{"__private": 1}', '{"__private": 2}', ["$.__private"]),
        ('{"a": "1"}', '{"a": 1}', ["$.a"]),
        ("[true, 1]", "[1, 1]", ["$[0]"]),
        ('{"a": false}', '{"a": 0}', ["$.a"]),
        ('{"a": 0.1000000000000000055511151231257827}', '{"a": 0.1}', ["$.a"]),
        ('{"a": 9007199254740993}', '{"a": 9007199254740992}', ["$.a"]),
        ("null", '"null"', ["$"]),
        ('{"a": []}', '{"a": {}}', ["$.a"]),
        (f"[{'9' * 5000}]", "[9]", ["$[0]"]),
    ],
)
def test_json_values_are_drilled_to_their_paths(source: str, target: str, paths: list[str]) -> None:
    difference = found(source, target, "jsonb")
    assert difference.kind is DifferenceKind.CHANGED
    assert difference.fields[0].paths == paths


def test_json_paths_beyond_the_maximum_are_counted() -> None:
    names = dict.fromkeys((f"k{n}" for n in range(PATHS_AT_MOST + 7)), 1)
    one = found("{}", json.dumps(names), "jsonb").fields[0]
    assert (len(one.paths), one.note) == (PATHS_AT_MOST, "and 7 more paths")


def test_json_nested_too_deeply_is_a_change_all_the_same() -> None:
    deep = "[" * 20_000
    difference = found(deep + "1" + "]" * 20_000, deep + "2" + "]" * 20_000, "jsonb")
    assert (difference.kind, difference.fields[0].note) == (
        DifferenceKind.CHANGED,
        "nested too deeply to be drilled into",
    )


Row = tuple[str | None, ...]
COLUMNS, KINDS = ["id", "state", "total"], {"id": "bigint", "state": "text", "total": "numeric(12,2)"}


def whole(source: Row | None, target: Row | None, **more: Any) -> str | None:
    difference = classify("t", ("1",), COLUMNS, KINDS, source, target, **more)
    return difference and str(difference.kind)


def test_rows_on_one_side_only() -> None:
    row = ("1", "paid", "5.00")
    assert whole(None, None) is None
    assert whole(row, None) == "missing"
    assert whole(row, None, orphan=True) == "missing"
    assert whole(None, row) == "extra"
    assert whole(None, row, orphan=True) == "orphan"
    assert whole(row, row, orphan=True) is None


def test_an_earlier_state_of_the_whole_row_is_a_lost_update() -> None:
    now, before, first = ("1", "shipped", "5.00"), ("1", "paid", "5.00"), ("1", "placed", "4.00")
    assert whole(now, before, earlier=[first, before]) == "lost_update"
    assert whole(now, ("1", "paid", "5.0"), earlier=[first, before]) == "lost_update"
    assert whole(now, ("1", "placed", "5.00"), earlier=[first, before]) == "changed"
    assert whole(now, now, earlier=[now]) is None


def test_one_real_change_outweighs_slight_ones() -> None:
    assert whole(("1", "paid ", "5.004"), ("1", "paid", "5.00")) == "precision_or_type"
    assert whole(("1", "paid ", "5.00"), ("2", "paid", "5.00")) == "changed"


def test_rows_of_another_length_than_the_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        whole(("1", "paid"), ("1", "paid", "5.00"))
