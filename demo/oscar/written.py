"""What carrying oscar's contexts out took: lines written by hand, and lines that the generators wrote."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

from demo import ROOT

CUT = ROOT / "tests" / "oscar" / "cut"
BY_HAND = ("settings.py", "urls.py")
"""Beside a playbook for each context; `seed.py` makes the demonstration's shop and is none of the cut's."""


def statements(path: Path) -> int:
    """How many lines of a file hold code: neither empty, comment nor docstring."""
    tree = ast.parse(path.read_text())
    docstrings = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    lines = enumerate(path.read_text().splitlines(), 1)
    return sum(bool(text.strip()) and not text.strip().startswith("#") and at not in docstrings for at, text in lines)


def by_hand(contexts: Sequence[str]) -> dict[str, int]:
    """Lines of code that a team writes to carry these contexts out: file → lines."""
    return {name: statements(CUT / name) for name in (*BY_HAND, *(f"{context}.py" for context in contexts))}


def generated(root: Path) -> int:
    """Lines of code below a folder of what the generators wrote."""
    return sum(statements(path) for path in root.rglob("*.py"))
