"""The page of traps: each has its test; that those exist is checked with all other documents."""

import re

from tests.architecture.tree import ROOT

PAGE = (ROOT / "docs" / "explanation" / "traps.md").read_text()


def traps() -> dict[str, list[str]]:
    """Trap → the tests that its row names."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    return {row[0]: re.findall(r"`(test_\w+)`", row[1]) for row in rows if row[0] != "trap"}


def test_every_trap_names_its_test() -> None:
    assert len(traps()) > 40
    assert [trap for trap, tests in traps().items() if not tests] == []
