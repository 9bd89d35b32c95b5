"""make demo-oscar in small: the order context of django-oscar through every phase under its own customers."""

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
@pytest.mark.timeout(280)
def test_orders_of_oscar_leave_it_under_its_own_customers(tmp_path: Path) -> None:
    asked = ("--orders", "2", "--customers", "2", "--seconds", "1", "--writes", "4", "--output", str(tmp_path))
    env = {**os.environ, "OSCAR_WITHOUT_MIGRATIONS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "demo.oscar", *asked],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=env,
        timeout=270,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["result"] == "ok"
    assert report["differences"] == report["traffic"]["failed"] == 0
    assert len(report["pause_ms"]) == 3, "a cutover, the rollback, and a cutover again"
    assert report["audit"]["checked"]["orders"] > 5
    assert report["acknowledged"] > 16
    assert [move["command"] for move in report["moves"]][-1] == "strangle_decommission"
