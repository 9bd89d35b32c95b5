"""What programs of users may import is there, and is what the page of public names says."""

import ast
import importlib
import importlib.util
import re

import pytest

from tests.architecture.tree import ROOT, project_files
from tests.fences import blocks

PAGE = (ROOT / "docs" / "reference" / "api.md").read_text()


def listed() -> list[tuple[str, str]]:
    """Module and name of every row of the first table."""
    found = []
    for line in PAGE.splitlines():
        cells = re.findall(r"`([^`]+)`", line)
        if line.startswith("| `migration_tools"):
            found += [(cells[0], name) for name in cells[1:]]
    return found


@pytest.mark.parametrize(("module", "name"), listed(), ids=lambda value: str(value))
def test_a_public_name_can_be_imported(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name) or importlib.util.find_spec(f"{module}.{name}")


def test_every_fixture_of_the_plugin_is_listed() -> None:
    room = ROOT / "migration_tools" / "testing"
    text = "".join((room / name).read_text() for name in ("plugin.py", "coupling.py"))
    fixtures = re.findall(r"@pytest\.fixture\ndef (\w+)", text)
    assert "context_guard" in fixtures
    assert set(fixtures) == set(re.findall(r"^\| `(\w+)` \| ", PAGE.partition("| fixture")[2], re.MULTILINE))


def imported(text: str) -> set[tuple[str, str]]:
    """Module and name of every `from migration_tools… import`, whether or not the rest of the text is Python."""
    found = set()
    for module, names in re.findall(r"^\s*from (migration_tools[\w.]*) import (\([^)]*\)|[^\n]+)", text, re.MULTILINE):
        bare = re.sub(r"#[^\n]*", "", names).strip("()")
        found |= {(module, name.strip().split(" as ")[0]) for name in bare.split(",") if name.strip()}
    return found


def shown() -> set[tuple[str, str]]:
    """What pages tell people to import, and what the examples do."""
    found: set[tuple[str, str]] = set()
    for page in project_files(".md"):
        if "decisions" not in page.parts:
            for language, body in blocks(page.read_text()):
                found |= imported(body) if language in {"python", "py"} else set()
    for room in ("playbooks", "extracted_services", "legacy_monolith"):
        for path in (ROOT / room).rglob("*.py"):
            if not {"tests", "migrations"} & set(path.parts):
                found |= imported(path.read_text())
    return found


def test_every_name_that_a_page_or_an_example_imports_is_public() -> None:
    found = shown()
    assert ("migration_tools.playbook", "Playbook") in found
    assert found - set(listed()) == set()
    assert imported("from migration_tools.kernel.ids import (\n    uuid7,  # no\n)") - set(listed())


@pytest.mark.parametrize("room", ["playbook", "projections", "seams"])
def test_a_room_that_says_what_it_exports_exports_what_is_listed(room: str) -> None:
    module = f"migration_tools.{room}"
    assert {name for place, name in listed() if place == module} == set(importlib.import_module(module).__all__)


def test_every_signal_is_described_with_the_arguments_that_it_is_sent_with() -> None:
    source = {path: path.read_text() for path in (ROOT / "migration_tools").rglob("*.py")}
    declared = {name for text in source.values() for name in re.findall(r"^(\w+) = Signal\(\)", text, re.MULTILINE)}
    rows = dict(re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", PAGE.partition("## Signals")[2], re.MULTILINE))
    assert declared <= set(rows)
    for text in source.values():
        for name, sent in re.findall(r"(\w+)\.send_robust\(([^\n]+)\)", text):
            for argument in set(re.findall(r"(\w+)=", sent)) - {"sender"}:
                assert f"`{argument}`" in rows[name], (name, argument)


def test_every_message_of_a_check_has_a_hint() -> None:
    mute = []
    for path in (ROOT / "migration_tools").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            is_message = isinstance(node, ast.Call) and ast.unparse(node.func) in {"checks.Error", "checks.Warning"}
            if is_message and "hint" not in {word.arg for word in node.keywords}:  # type: ignore[attr-defined]
                mute.append(f"{path.name}:{node.lineno}")
    assert mute == []
