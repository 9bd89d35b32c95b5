"""The table of verifiers in docs/explanation/guarantees.md is measured: each condition, each verifier, run here."""

import re
from collections.abc import Callable

import pytest

from tests.architecture.tree import ROOT
from tests.conftest import Pair
from tests.verifiers import CONDITIONS, MAKE, VERIFIERS

PAGE = (ROOT / "docs" / "explanation" / "guarantees.md").read_text()


def documented() -> dict[str, dict[str, str]]:
    """The measured table of the page: condition → verifier → Yes or No."""
    section = PAGE.partition("## Conditions that were measured")[2].partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    head, *rows = (cells for cells in lines if not set(cells[0]) <= set("-"))
    return {row[0]: dict(zip(head[1:], (cell.strip("*") for cell in row[1:]), strict=True)) for row in rows}


def seen_by_all(pair: Pair, condition: str) -> dict[str, str]:
    """Make the condition and ask every verifier."""
    with pair.connect("shop") as conn:
        conn.execute("DROP TABLE IF EXISTS ours, theirs")
        conn.execute(MAKE)
        conn.execute(CONDITIONS[condition])
        assert (
            conn.execute("SELECT count(*) FROM (TABLE ours EXCEPT ALL TABLE theirs) x").fetchone() != (0,)
            or conn.execute("SELECT count(*) FROM (TABLE theirs EXCEPT ALL TABLE ours) x").fetchone() != (0,)
            or "scale" in condition
        )
    return {name: _verdict(verifier, pair) for name, verifier in VERIFIERS.items()}


def _verdict(verifier: Callable[[Pair], bool], pair: Pair) -> str:
    try:
        return "Yes" if verifier(pair) else "No"
    except ValueError:  # reladiff: duplicate primary keys
        return "refuses"


@pytest.mark.thorough
def test_each_verifier_sees_what_the_page_says_and_misses_what_it_says(pair: Pair) -> None:
    with pair.connect("shop") as conn:
        conn.execute(MAKE)
    assert {name: verifier(pair) for name, verifier in VERIFIERS.items()} == dict.fromkeys(VERIFIERS, False)
    measured = {condition: seen_by_all(pair, condition) for condition in CONDITIONS}
    assert measured == documented()


@pytest.mark.parametrize("verdict", ["Yes", "Sometimes", "No"])
def test_every_yes_of_ours_names_the_test_that_shows_it(verdict: str) -> None:
    """Whether those tests exist is checked with all other documents."""
    section = PAGE.partition("## What our verification sees")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")][2:]
    mine = [row for row in rows if row[1].strip("*") == verdict]
    assert mine, verdict
    for row in mine:
        assert verdict != "Yes" or re.search(r"`test_\w+`", row[2]), row[0]
