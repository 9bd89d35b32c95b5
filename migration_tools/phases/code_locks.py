"""Where the application's code takes locks in its database, which protect nothing once the rows live elsewhere.

A row lock of another context's code on a moved table locks the copy; an advisory lock locks a number in a database that
the service never asks. Nobody can tell from outside what they were for, so the plan of a cutover names them.
"""

import ast
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.apps import apps

_BY_SQL = re.compile(r"\bFOR (NO KEY UPDATE|UPDATE|KEY SHARE|SHARE)\b|\bpg_(try_)?advisory_\w*lock|\bLOCK TABLE\b")
_OWN = "migration_tools"


@dataclass(frozen=True, kw_only=True, order=True)
class CodeLock:
    """One place in the code, and how it locks."""

    path: str
    line: int
    how: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} ({self.how})"


def code_locks() -> list[CodeLock]:
    """Every lock in the project's own installed apps; packages that were installed are not read."""
    installed = Path(sysconfig.get_path("purelib"))
    found: set[CodeLock] = set()
    for config in apps.get_app_configs():
        root = Path(config.path)
        if config.name.split(".")[0] == _OWN or root.is_relative_to(installed) or "site-packages" in root.parts:
            continue
        base = root.parents[config.name.count(".")]
        for path in root.rglob("*.py"):
            found.update(locks_in(path.read_text(encoding="utf-8"), path.relative_to(base).as_posix()))
    return sorted(found)


def locks_in(source: str, path: str) -> Iterator[CodeLock]:
    """The locks of one file; a file that is no Python has none."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "select_for_update":
                yield CodeLock(path=path, line=node.lineno, how="select_for_update")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = _BY_SQL.search(node.value)
            if found is not None:
                yield CodeLock(path=path, line=node.lineno, how=found[0])
