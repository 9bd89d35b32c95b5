"""Who leaves before whom: whoever writes or joins another's tables, unless they are in a ring."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from migration_tools.analysis.findings import Finding
from migration_tools.analysis.order import bonds_of, may_leave
from migration_tools.analysis.plan import plan_of, verdict_of
from migration_tools.analysis.render_html import render_html
from migration_tools.analysis.render_text import render_markdown, render_text
from migration_tools.analysis.report import Analysis
from migration_tools.analysis.rules import RULES
from tests.unit.test_cut_plan import NAMES, facts, finding, report, saga

Use = tuple[str, str]


def order(*findings: Finding) -> list[str]:
    return [cut.context for cut in plan_of(findings, NAMES)]


def reaches(edges: set[Use], start: str, goal: str, within: set[str]) -> bool:
    """Whether edges lead from one context to another through contexts still there; nothing of networkx."""
    seen, open_ = {start}, [start]
    while open_:
        here = open_.pop()
        open_ += [there for source, there in edges if source == here and there in within - seen]
        seen |= {there for source, there in edges if source == here and there in within}
    return goal in seen


COUPLINGS = st.lists(
    st.tuples(
        st.sampled_from(sorted(RULES)), st.sampled_from(NAMES), st.sampled_from(NAMES), st.booleans(),
        st.sampled_from((*NAMES, None, "of no candidate")),
    ),
    max_size=16,
)  # fmt: skip


def planted(given_: Sequence[tuple[str, str, str, bool, str | None]]) -> list[Finding]:
    """As the analysis finds them: only a JOIN and a transaction may be nobody's code, or a third context's."""
    found = []
    for rule, source, target, writes, by in given_:
        if source != target:
            detail: dict[str, Any] = {"writes": writes} if rule == "SFA111" else {}
            detail |= {"by": by} if rule in ("SFA201", "SFA202") else {}
            found.append(finding(rule, source, target, detail=detail))
    return found


def uses(found: Sequence[Finding]) -> tuple[set[Use], set[Use]]:
    """(writers, writers and joiners) as (who, whose), told again apart from the code under test."""
    writing, all_ = set[Use](), set[Use]()
    for each in found:
        who = each.detail["by"] if each.rule in ("SFA201", "SFA202") else each.source
        pairs = {(who, whose) for whose in (each.source, each.target) if who in NAMES and whose != who}
        if each.rule in ("SFA112", "SFA202", "SFA203") or (each.rule == "SFA111" and each.detail["writes"]):
            writing |= pairs
            all_ |= pairs
        elif each.rule == "SFA201":
            all_ |= pairs
    return writing, all_


@settings(max_examples=300, deadline=None)
@given(COUPLINGS, st.randoms(use_true_random=False))
@example([("SFA203", "a", "b", False, None), ("SFA201", "b", "a", False, "b")], None)
def test_nobody_leaves_before_who_uses_their_tables_but_in_a_ring(given_: Any, dice: Any) -> None:
    found = planted(given_)
    writing, all_ = uses(found)
    plan = plan_of(found, NAMES)
    assert sorted(cut.context for cut in plan) == list(NAMES)
    left = set(NAMES)
    for cut in plan:
        there = {who for who, whose in all_ if whose == cut.context and who in left}
        assert all(reaches(all_, cut.context, who, left) for who in there)
        writers = {who for who, whose in writing if whose == cut.context and who in left}
        assert all(reaches(writing, cut.context, who, left) for who in writers)  # a join is no reason to go first
        assert set(cut.ahead_of) == there
        assert set(cut.after) == {who for who, whose in all_ if whose == cut.context} - left
        assert len(cut.because) == len(cut.after) + len(cut.ahead_of)
        left.remove(cut.context)
    if dice is not None:
        shuffled, names = list(found), list(NAMES)
        dice.shuffle(shuffled)
        dice.shuffle(names)
        assert [cut.context for cut in plan_of(shuffled, names)] == [cut.context for cut in plan]


def test_whoever_writes_the_others_leaves_first_though_it_is_the_dearest() -> None:
    found = [*saga("buy", "d", "a", "b"), finding("SFA201", "d", "c"), finding("SFA101", "b", "c")]
    plan = plan_of(found, NAMES)
    assert [(cut.context, cut.cost_then) for cut in plan] == [("d", 18), ("a", 0), ("b", 2), ("c", 0)]
    assert [cut.after for cut in plan] == [(), ("d",), ("d",), ("d",)]
    assert plan[1].because == ("after d, whose code writes its tables: d.py:1",)
    assert plan[3].because == ("after d, whose code joins its tables: d.py:1",)


def test_in_a_ring_of_writers_the_cheapest_goes_first_and_says_so() -> None:
    found = [finding("SFA203", "b", "a"), finding("SFA203", "a", "b"), *saga("buy", "b", "c")]
    plan = plan_of(found, ("a", "b", "c"))
    assert [cut.context for cut in plan] == ["a", "b", "c"]
    assert (plan[0].after, plan[0].ahead_of) == ((), ("b",))
    assert plan[0].because[0].startswith("ahead of b, whose code writes its tables: b.py:1; they use each other's")
    assert (plan[1].after, plan[1].ahead_of) == (("a",), ())


def test_a_ring_of_a_writer_and_a_join_is_cut_at_the_join() -> None:
    """Payments list orders with their own: that must not put them before the orders that write them."""
    plan = plan_of([finding("SFA203", "d", "a"), finding("SFA201", "a", "d")], ("a", "d"))
    assert [(cut.context, cut.ahead_of) for cut in plan] == [("d", ("a",)), ("a", ())]


def test_code_of_nobody_or_of_a_third_asks_for_what_it_does_and_no_more() -> None:
    detail = {"entry": "buy", "contexts": ["a", "b"], "key": "buy"}
    nobody, third = ({**detail, "by": by} for by in (None, "c"))
    assert bonds_of([finding("SFA202", "a", "b", detail=nobody)], NAMES) == ()
    bonds = bonds_of([finding("SFA202", "a", "b", detail=third)], NAMES)
    assert [(each.user, each.owner) for each in bonds] == [("c", "a"), ("c", "b")]
    assert may_leave(NAMES, bonds) == ["c", "d"]
    assert bonds_of([finding("SFA203", "reporting", "b"), finding("SFA205", "a", "b")], NAMES) == ()


def test_the_code_says_who_writes_where_nothing_was_traced() -> None:
    raw = [finding("SFA111", "d", "c", detail={"writes": writes}) for writes in (True, False)]
    assert order(finding("SFA112", "d", "a"), raw[0])[:2] == ["b", "d"]
    assert order(raw[1])[:2] == ["a", "b"]


def test_every_rendering_tells_the_order_in_a_sentence_and_the_json_form_has_the_names() -> None:
    made = report(*saga("buy", "d", "a", "b"), finding("SFA203", "a", "d"))
    told = "b leaves after d, whose code writes its tables: d.py:1"
    ring = "a leaves ahead of d, whose code writes its tables: d.py:1; they use each other&#x27;s tables in a ring"
    assert f"* {told}" in render_text(made)
    assert f"* {told}" in render_markdown(made)
    assert f"<li>{told}</li>" in render_html(made)
    assert ring in render_html(made)
    assert "leaves after" not in render_html(report(finding("SFA101", "a", "b")))
    cuts = {cut["context"]: cut for cut in made.to_json()["plan"]}
    assert (cuts["b"]["after"], cuts["a"]["ahead_of"]) == (["d"], ["d"])
    assert Analysis.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_the_verdict_says_why_a_cheaper_context_waits_and_is_no_knot_for_that() -> None:
    found = [*saga("buy", "d", "a"), finding("SFA203", "d", "b"), finding("SFA101", "b", "c")]
    real = [facts(name) for name in ("a", "b", "d")]
    plan = plan_of(found, ["a", "b", "d"])
    said = verdict_of(plan, real, found, observed=True, measured=True, relays=True)
    assert (said.answer, said.first) == ("cut", "d")
    assert said.reasons == (
        "'d' is the first cut: 21 of 23 points of coupling",
        "'b' costs 10, but leaves after d, whose code writes its tables: d.py:1",
    )


@pytest.mark.parametrize("missing", ["after", "ahead_of", "because"])
def test_a_report_from_before_the_order_is_still_read(missing: str) -> None:
    document = report(*saga("buy", "d", "a")).to_json()
    for cut in document["plan"]:
        del cut[missing]
    assert getattr(Analysis.from_json(document).plan[-1], missing) == ()
