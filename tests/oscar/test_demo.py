"""What had to be written for django-oscar is what the documentation says."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

CUT = ROOT / "tests" / "oscar" / "cut"


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


def test_what_had_to_be_written_is_as_little_as_the_documentation_says() -> None:
    written = {name: statements(CUT / name) for name in ("settings.py", "urls.py", "order.py", "catalogue.py")}
    page = (ROOT / "docs" / "how-to" / "cut-a-foreign-monolith.md").read_text()
    for name, count in written.items():
        assert f"| `{name}` | {count} |" in page, (name, count)


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_orders_leave_oscar_under_its_own_customers_come_back_and_leave_for_good(tmp_path: Path) -> None:
    """`make demo-oscar`, small, on tables made from the models: it ends with 0 only if nothing is lost or differs."""
    small = ("--orders", "1", "--reads", "4", "--seconds", "0.5", "--writes", "2", "--output", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "demo.oscar", *small],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
        env={**os.environ, "OSCAR_WITHOUT_MIGRATIONS": "1"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["result"] == "ok"
    assert told["differences"] == 0
    assert told["traffic"]["failed"] == 0
    assert told["acknowledged"] > 5
    assert len(told["pause_ms"]) == 3, "out, back, and out again"
    assert [each["command"] for each in told["moves"]][-2:] == ["strangle_decommission"] * 2
