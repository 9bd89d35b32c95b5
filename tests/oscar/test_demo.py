"""What had to be written for django-oscar is what the documentation says."""

import ast
from pathlib import Path

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
    written = {name: statements(CUT / name) for name in ("settings.py", "urls.py", "order.py")}
    page = (ROOT / "docs" / "how-to" / "cut-a-foreign-monolith.md").read_text()
    for name, count in written.items():
        assert f"| `{name}` | {count} |" in page, (name, count)
