"""Three answers become differences, noise or a reason why nothing can be said."""

import json
from decimal import Decimal
from typing import Any

import pytest
from deepdiff import DeepDiff
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_tools.routing.shadow.comparison import Answer, compare
from migration_tools.routing.shadow.differences import Difference, DiffKind, json_differences
from migration_tools.routing.shadow.patterns import revealed, route_pattern, shape
from migration_tools.routing.shadow.rules import Rule

SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab10.", max_size=3)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)


def answer(body: Any, **values: Any) -> Answer:
    text = body if isinstance(body, str) else json.dumps(body)
    return Answer(**{"status": 200, "content_type": "application/json", "guarded": True, **values}, body=text.encode())


def found(owner: Any, candidate: Any, **options: Any) -> list[tuple[str, str]]:
    return [(each.path, str(each.kind)) for each in json_differences(owner, candidate, **options)]


@pytest.mark.parametrize(
    ("owner", "candidate", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("$.a", "changed")]),
        ({"a": 1, "b": 2}, {"a": 1}, [("$.b", "missing")]),
        ({"a": 1}, {"a": 1, "b": None}, [("$.b", "extra")]),
        ({"a": "10.00"}, {"a": Decimal("10.0")}, [("$.a", "type_or_precision")]),
        ({"a": 1}, {"a": "1"}, [("$.a", "type_or_precision")]),
        ({"a": 1}, {"a": True}, [("$.a", "changed")]),
        ({"a": None}, {"a": ""}, [("$.a", "changed")]),
        ({"a": "10.25"}, {"a": "10.3"}, [("$.a", "changed")]),
        ({"a": "10.253"}, {"a": "10.25"}, [("$.a", "type_or_precision")]),
        ({"a": "10.25"}, {"a": "10"}, [("$.a", "changed")]),
        (
            {"at": "2026-01-01T00:00:00.123456+00:00"},
            {"at": "2026-01-01T00:00:00Z"},
            [("$.at", "type_or_precision")],
        ),
        ({"at": "2026-01-01T00:00:00.5Z"}, {"at": "2026-01-01T00:00:00.6Z"}, [("$.at", "changed")]),
        ([1, 2, 3], [3, 2, 1], [("$", "order")]),
        ([1, 2, 3], [1, 3], [("$[*]", "missing")]),
        ([{"n": 1}, {"n": 2}, {"n": 3}], [{"n": 0}, {"n": 1}, {"n": 2}, {"n": 3}], [("$[*]", "extra")]),
        ([{"n": 1, "t": "a"}], [{"n": 1, "t": "b"}], [("$[*].t", "changed")]),
        ({"a": [1]}, {"a": {"b": 1}}, [("$.a", "changed")]),
        ({"ada@example.com": 1}, {"bob@example.com": 1}, [("$.{key}", "missing"), ("$.{key}", "extra")]),
        ([Decimal("1.0")], [{"\0number": "1e0"}], [("$[*]", "changed")]),
    ],
)
def test_differences_by_path_and_class(owner: Any, candidate: Any, expected: list[tuple[str, str]]) -> None:
    assert found(owner, candidate) == expected


def test_a_list_whose_order_does_not_count_is_compared_as_a_bag() -> None:
    assert found({"a": [1, 2]}, {"a": [2, 1]}, unordered={"$.a"}) == []
    assert found({"a": [1, 2, 2]}, {"a": [2, 1, 1]}, unordered={"$.a"}) != []


@settings(max_examples=150, deadline=None)
@given(JSON, JSON)
def test_something_differs_exactly_where_deepdiff_says_so(owner: Any, candidate: Any) -> None:
    # deepdiff takes True for 1, and skips nothing else of these values.
    named = [json.loads(json.dumps(each), parse_int=lambda text: ["number", text]) for each in (owner, candidate)]
    assert bool(found(owner, candidate)) == bool(DeepDiff(*named, ignore_private_variables=False))
    assert found(owner, owner) == []


@settings(max_examples=80, deadline=None)
@given(JSON, JSON, JSON)
def test_where_the_owner_differs_from_itself_nothing_is_said_of_the_candidate(a: Any, b: Any, c: Any) -> None:
    verdict = compare(answer({"x": a, "y": c}), answer({"x": b, "y": c}), answer({"x": b, "y": c}))
    if found(a, b):
        assert not verdict.differences
        assert verdict.noise


def test_noise_does_not_hide_what_is_beside_it() -> None:
    verdict = compare(
        answer({"now": 1, "total": "10.00", "lines": [1, 2]}),
        answer({"now": 2, "total": Decimal("10.5").__float__(), "lines": [1]}),
        answer({"now": 3, "total": "10.00", "lines": [1, 2]}),
    )
    assert {(each.path, str(each.kind)) for each in verdict.differences} == {
        ("$.total", "changed"),
        ("$.lines[*]", "missing"),
    }
    assert [each.path for each in verdict.noise] == ["$.now"]


@pytest.mark.parametrize(
    ("owner", "candidate", "again", "expected"),
    [
        (answer(1), answer(1, status=401), answer(1), [("status", "status")]),
        (answer(1), answer("<p>", content_type="text/html; charset=utf-8"), answer(1), None),
        (answer(1), Answer(failure="failed"), answer(1), [("answer", "failed")]),
        (answer(1), Answer(failure="too_slow"), answer(1), [("answer", "too_slow")]),
        (answer(1), answer(1, wrote="mail"), answer(1), [("candidate", "write_attempted")]),
        (answer("a", content_type="text/csv"), answer("ab", content_type="text/csv"), answer("a"), None),
    ],
)
def test_answers_of_another_kind_differ(owner: Answer, candidate: Answer, again: Answer, expected: Any) -> None:
    verdict = compare(owner, candidate, owner if expected is None else again)
    assert not verdict.skip
    paths = [(each.path, str(each.kind)) for each in verdict.differences]
    assert paths == expected if expected is not None else paths[-1] == ("body", "changed")


@pytest.mark.parametrize(
    ("owner", "candidate", "again", "skip"),
    [
        (Answer(failure="failed"), answer(1), answer(1), "the owner gave no answer"),
        (answer(1), answer(1), answer(1, guarded=False), "the owner is not guarded"),
        (answer(1), answer(1, guarded=False), answer(1), "the candidate is not guarded"),
        (answer(1), answer(1), answer(1, status=500), "the owner is not of one mind about the status"),
        (answer(1, wrote="database default"), answer(1), answer(1), "the owner writes while it reads"),
    ],
)
def test_what_cannot_be_compared_says_why(owner: Answer, candidate: Answer, again: Answer, skip: str) -> None:
    assert compare(owner, candidate, again).skip == skip


def test_a_rule_covers_its_place_and_below_and_never_a_status() -> None:
    rule = Rule(number=1, pattern="/a", path="$.x", kind=DiffKind.CHANGED, action="ignore")
    assert rule.covers("/a", Difference(path="$.x", kind=DiffKind.CHANGED))
    assert rule.covers("/a", Difference(path="$.x[*].y", kind=DiffKind.CHANGED))
    assert not rule.covers("/a", Difference(path="$.xy", kind=DiffKind.CHANGED))
    assert not rule.covers("/b", Difference(path="$.x", kind=DiffKind.CHANGED))
    assert not rule.covers("/a", Difference(path="$.x", kind=DiffKind.MISSING))
    for kind in (DiffKind.STATUS, DiffKind.WRITE, DiffKind.FAILED, DiffKind.SLOW):
        forged = Rule(number=1, pattern="", path="status", kind=kind, action="ignore")
        assert not forged.covers("/a", Difference(path="status", kind=kind))


@pytest.mark.parametrize(
    ("target", "pattern"),
    [
        ("/api/orders/17/", "/api/orders/{id}/"),
        ("/api/orders/0190163d-8694-739b-aea5-966c26f8ad91/pay/", "/api/orders/{uuid}/pay/"),
        ("/api/v2/orders?page=2&customer=ada%40example.com", "/api/v2/orders?customer&page"),
        ("/u/ada@example.com/x", "/u/{value}/x"),
        ("/t/eyJhbGciOiJIUzI1NiJ9.abcdefghijkl", "/t/{value}"),
        ("/o/%00", "/o/{value}"),
        ("/api/orders/?4711234=1", "/api/orders/?{key}"),
    ],
)
def test_patterns_hold_no_values(target: str, pattern: str) -> None:
    assert route_pattern(target) == pattern


def test_shapes_tell_type_and_size_only() -> None:
    values = [None, True, 12, Decimal("1.50"), "Ada", "", "10.00", [1, 2], {"a": 1}, "2026-01-01T00:00:00Z"]
    assert [shape(value) for value in values] == [
        "null",
        "boolean",
        "integer of 2 digits",
        "number with 2 decimals",
        "text of 3 characters",
        "empty text",
        "text like 99.99",
        "list of 2",
        "object of 1 key",
        "text like 9999-99-99T99:99:99Z",
    ]
    assert revealed({"a": Decimal("1.5")}) == '{"a": "1.5"}'


@given(st.text(min_size=1))
def test_no_shape_tells_a_letter_or_a_digit_of_a_text(text: str) -> None:
    assert shape(text) in {"uuid", f"text of {len(text)} character{'s' * (len(text) != 1)}"} or not set(
        shape(text)
    ) & set("012345678")
