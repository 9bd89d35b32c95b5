"""The page that the site generates has every command's and action's options, every check, metric, setting and event."""

import ast
import dataclasses
import re
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

import pytest

from migration_tools.conf import Settings
from migration_tools.observability.figures import FAMILIES
from migration_tools.projections.state_events import COMPLETED
from migration_tools.testing.deliveries import sample
from tests.architecture.tree import ROOT, project_files
from tests.unit.test_manners import LEAVES, options


@pytest.fixture(scope="module")
def generated() -> ModuleType:
    """docs/generated.py, which is Sphinx's and in no package."""
    spec = spec_from_file_location("generated_reference", ROOT / "docs" / "generated.py")
    assert spec is not None
    assert spec.loader is not None
    made = module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def first_cells(lines: list[str]) -> list[str]:
    """The first cell of every row, unquoted."""
    return [line.split("|")[1].strip(" `") for line in lines if line.startswith("| `")]


def test_every_option_of_every_command_and_action_is_there(generated: ModuleType) -> None:
    helps = dict(re.findall(r"^\*\*(.+?)\*\*\n\n```text\n(.*?)^```", "\n".join(generated.commands()), re.M | re.S))
    assert set(helps) >= set(LEAVES)
    lacking = {
        name: missing
        for name, parser in LEAVES.items()
        if (missing := {option for option in options(parser) if not re.search(rf"{option}\b", helps[name])})
    }
    assert lacking == {}


def test_every_check_is_there_once_and_says_something(generated: ModuleType) -> None:
    named = {
        name
        for path in project_files(".py", below=ROOT / "migration_tools")
        for name in re.findall(r"[\"'](strangle\.[EW]\d+)[\"']", path.read_text())
    }
    lines = generated.checks()
    rows = first_cells(lines)
    assert len(named) >= 40
    assert sorted(rows) == sorted(named)
    assert [line for line in lines[2:] if len(line.split("|")[2].strip()) < 12] == []
    # The table that is written by hand and the generated one are about the same checks.
    assert set(rows) == set(
        re.findall(r"^\| `(strangle\.\w+)`", (ROOT / "docs/reference/settings.md").read_text(), re.M)
    )


def test_every_event_type_is_there_and_every_field_of_the_envelope(generated: ModuleType) -> None:
    declared = {
        str(decorator.args[0].value)
        for path in ROOT.glob("*/*/contracts.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "event"
        if isinstance(decorator.args[0], ast.Constant)
    }
    released = {path.parent.name for path in (ROOT / "playbooks" / "contracts").glob("*/*.json") if path.stem.isdigit()}
    wire = sample("order.placed", {}, stream="orders", aggregate_type="order", aggregate_id=1).to_json()
    assert len(declared) > 8
    assert set(first_cells(generated.events())) == {*declared, *released, COMPLETED, *wire}
    assert "`order_id`" in next(line for line in generated.events() if line.startswith("| `order.placed`"))


def test_every_setting_and_metric_is_there(generated: ModuleType) -> None:
    assert first_cells(generated.settings()) == [field.name for field in dataclasses.fields(Settings)]
    assert first_cells(generated.metrics()) == list(FAMILIES)
