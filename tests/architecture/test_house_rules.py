"""What every file of the project keeps to, and that each of these rules can fail."""

import ast
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, project_files, relative

LINES_AT_MOST = 350
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}

#: Where a sleep that is no bounded poll is right, and why.
SLEEPERS: dict[str, str] = {}

# Joined here so that this file does not hold what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.~{}])/(?:work|root|home|opt/wheels|Users)/\w")
REGISTRY_HOST = re.compile(
    "|".join(
        re.escape(".".join(parts))
        for parts in (
            ("pypi", "org"),
            ("files", "pythonhosted", "org"),
            ("deb", "debian", "org"),
            ("security", "debian", "org"),
            ("registry", "npmjs", "org"),
        )
    )
)

Rule = Callable[[str, str], Iterable[str]]


def too_long(path: str, text: str) -> Iterable[str]:
    """Keep a file to one idea."""
    lines = text.count("\n")
    if lines > LINES_AT_MOST and "/migrations/" not in path:
        yield f"{lines} lines; {LINES_AT_MOST} at most"


def says_nothing(path: str, text: str) -> Iterable[str]:
    """Name a file after the one noun it holds."""
    for part in Path(path).with_suffix("").parts:
        if part in NAMES_THAT_SAY_NOTHING:
            yield f"{part!r} names nothing of the domain"


def lacks_docstring(path: str, text: str) -> Iterable[str]:
    """Begin with a sentence that would fit in a tree listing."""
    if "/migrations/" in path:
        return
    docstring = ast.get_docstring(ast.parse(text))
    first = (docstring or "").partition("\n")[0]
    if not first.strip().endswith((".", "?", "!", ":", ";")):
        yield f"begins with {first!r}, not with a docstring sentence"


def sleeps(path: str, text: str) -> Iterable[str]:
    """Wait for a condition, never for a time: a sleep stands in a loop that looks at the clock."""
    if path in SLEEPERS or "sleep" not in text:
        return
    tree = ast.parse(text)
    polls = {
        id(inner)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and "monotonic" in ast.dump(function)
        for loop in ast.walk(function)
        if isinstance(loop, ast.While)
        for inner in ast.walk(loop)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="time"), attr="sleep")) if id(node) not in polls:
                yield f"line {node.lineno}: time.sleep() outside a poll with a time limit"
            case ast.ImportFrom(module="time", names=names) if any(name.name == "sleep" for name in names):
                yield f"line {node.lineno}: from time import sleep"


def names_a_machine(path: str, text: str) -> Iterable[str]:
    """Say nothing about the machine a file was written on."""
    for pattern in (MACHINE_PATH, REGISTRY_HOST):
        for found in pattern.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield f"line {line}: {found.group()!r}"


def broken(rule: Rule, suffix: str) -> list[str]:
    """Apply a rule to the files of the project with that suffix."""
    found = []
    for path in project_files(suffix):
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{relative(path)}: {fault}" for fault in rule(relative(path), text)]
    return found


@pytest.mark.parametrize("rule", [too_long, says_nothing, lacks_docstring, sleeps])
def test_every_python_file_keeps_the_rule(rule: Rule) -> None:
    assert broken(rule, ".py") == []


def test_no_file_names_a_machine_or_a_registry() -> None:
    assert broken(names_a_machine, "") == []


def test_no_sleeper_is_excused_in_vain() -> None:
    excused = dict(SLEEPERS)
    SLEEPERS.clear()
    try:
        sleeping = {fault.partition(":")[0] for fault in broken(sleeps, ".py")}
    finally:
        SLEEPERS.update(excused)
    assert set(excused) <= sleeping


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (too_long, "migration_tools/x.py", "\n" * (LINES_AT_MOST + 1)),
        (says_nothing, "migration_tools/utils.py", ""),
        (says_nothing, "migration_tools/common/rows.py", ""),
        (lacks_docstring, "migration_tools/x.py", "import os\n"),
        (lacks_docstring, "migration_tools/x.py", '"""no sentence"""\n'),
        (sleeps, "tests/x.py", "import time\ntime.sleep(1)\n"),
        (sleeps, "tests/x.py", "from time import sleep\n"),
        (sleeps, "tests/x.py", "def wait():\n    while not ready():\n        time.sleep(1)\n"),
        (sleeps, "tests/x.py", "def wait():\n    end = time.monotonic() + 1\n    time.sleep(1)\n"),
        (names_a_machine, "x.toml", "cache = '/" + "home/someone/.cache'"),
        (names_a_machine, "x.lock", "--index-url https://" + "pypi" + ".org/simple"),
    ],
)
def test_each_rule_refuses_what_breaks_it(rule: Rule, path: str, text: str) -> None:
    assert list(rule(path, text))


def test_the_walk_sees_the_project() -> None:
    seen = {relative(path) for path in project_files()}
    assert {"pyproject.toml", "manage.py", "migration_tools/conf.py", ".ci/run"} <= seen
    assert not any(".venv" in path.parts for path in project_files(below=ROOT / "migration_tools"))
