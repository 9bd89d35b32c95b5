"""The reference and the runbooks say what the code has: settings, defaults, exit codes, options, gates, phases."""

import ast
import dataclasses
import inspect
import re
from argparse import Action, ArgumentParser, _HelpAction, _SubParsersAction
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from django.core.management import load_command_class
from django.core.management.base import BaseCommand

from migration_tools import checks, errors
from migration_tools.analysis import context_file
from migration_tools.conf import Settings
from migration_tools.errors import ExitCode
from migration_tools.phases.machine import COMMANDS as MOVE_COMMANDS
from migration_tools.phases.machine import MOVES
from migration_tools.playbook import Gates, Playbook, Projection, Route
from migration_tools.routing import edge_settings
from migration_tools.sagas import flow as saga_flow
from migration_tools.sagas import validation as saga_validation
from migration_tools.seams import loose_key
from migration_tools.state.phase import Phase
from migration_tools.verification.report import DifferenceKind
from proxy.options import ProxyOptions
from tests.architecture.tree import ROOT
from tests.examples.test_docs import COMMANDS

REFERENCE = ROOT / "docs" / "reference"
RUNBOOKS = ROOT / "playbooks" / "runbooks"
SECTIONS = ["What it does", "Command", "Gates", "Watch", "Undo", "What can go wrong"]
# Modules that name the ids of checks, beside each room's checks.py.
DECLARING = (checks, edge_settings, context_file, loose_key, saga_flow, saga_validation)
EMERGENCIES = ["abort", "lost_write_suspected", "split_brain", "broker_gone", "disk_full", "stuck_cutover"]
STEPS = ["You see", "At once", "Find out", "Mend", "Afterwards"]
ACCIDENTS = ["kill -9", "database", "broker", "Envoy"]


def page(path: Path) -> str:
    """Read a page."""
    return path.read_text()


def quoted(text: str) -> set[str]:
    """Give everything in back quotes, and each word of it."""
    found = re.findall(r"`([^`\n]+)`", text)
    return {*found, *(word for each in found for word in each.split())}


def rows(text: str) -> dict[str, list[str]]:
    """Give the rows of all tables by their first cell, unquoted."""
    found = [line.strip()[1:-1].split("|") for line in text.splitlines() if line.startswith("| ")]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in found}


def undocumented_settings(text: str, fields: Mapping[str, Any]) -> list[str]:
    """Settings without a row, and rows whose default is not the code's."""
    table, faults = rows(text), []
    for name, default in fields.items():
        if name not in table:
            faults.append(f"{name} has no row")
        elif ast.literal_eval(table[name][0].strip("`")) != default:
            faults.append(f"{name}: the default is {default!r}, not {table[name][0]}")
    return faults


def undocumented_codes(text: str) -> list[str]:
    """Exit codes without a row, or under another name."""
    table = rows(text)
    return [f"{code.value} {code.name}" for code in ExitCode if table.get(str(code.value), [""])[0] != f"`{code.name}`"]


def undocumented_options(text: str, name: str, parser: ArgumentParser) -> list[str]:
    """Options of a command that its section, or the section of the common ones, does not mention."""
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    if name not in sections:
        return [f"{name} has no section"]
    known = quoted(sections[name]) | quoted(sections["Common options"])
    if f"manage.py {name}" not in sections[name]:
        return [f"{name} has no example"]
    return [f"{name} {option}" for option in own_options(parser) if option not in known]


def own_options(parser: ArgumentParser) -> Iterator[str]:
    """Name the options that are the command's own and not every Django command's."""
    ours = {action.dest for action in BaseCommand().create_parser("manage.py", "x")._actions}
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            for sub in action.choices.values():
                yield from own_options(sub)
        elif action.dest not in ours and not isinstance(action, _HelpAction):
            yield _spelling(action)


def _spelling(action: Action) -> str:
    return max(action.option_strings, key=len) if action.option_strings else action.dest


def incomplete_runbook(text: str, phase: Phase) -> list[str]:
    """What a phase's page lacks: sections in order, the command, each gate, each accident."""
    faults = []
    if re.findall(r"^## (.+)$", text, re.MULTILINE) != SECTIONS:
        faults.append(f"its sections are not {SECTIONS}")
    if phase in MOVE_COMMANDS and f"manage.py {MOVE_COMMANDS[phase]} " not in text:
        faults.append(f"it does not show {MOVE_COMMANDS[phase]}")
    if "strangle_rollback" not in text:
        faults.append("it does not say how to go back")
    faults += [f"it does not speak of {word!r}" for word in ACCIDENTS if word not in text]
    faults += [f"gate {gate!r} is not explained" for gate in sorted(gates_of(phase) - quoted(text))]
    return faults


def gates_of(phase: Phase) -> set[str]:
    """Name the gates that a move into the phase asks."""
    move = MOVES.get(phase)
    return set(re.findall(r"gates\.(\w+)\(", inspect.getsource(type(move).look))) if move is not None else set()


def command(name: str) -> ArgumentParser:
    """Give the parser of a command."""
    return load_command_class("migration_tools", name).create_parser("manage.py", name)


def defaults() -> dict[str, Any]:
    """Give every setting with its default."""
    return {field.name: getattr(Settings(), field.name) for field in dataclasses.fields(Settings)}


def test_every_setting_has_a_row_with_its_default() -> None:
    assert undocumented_settings(page(REFERENCE / "settings.md"), defaults()) == []


def test_every_option_of_the_proxy_is_explained() -> None:
    known = quoted(page(ROOT / "proxy" / "README.md"))
    assert {field.name.upper() for field in dataclasses.fields(ProxyOptions)} - {"UPSTREAMS"} <= known


def test_every_check_is_listed() -> None:
    rooms = "".join(page(path) for path in sorted((ROOT / "migration_tools").glob("*/checks.py")))
    sources = rooms + "".join(inspect.getsource(module) for module in DECLARING)
    ids = set(re.findall(r'"(strangle\.[EW]\d+)"', sources))
    listed = {name for name in rows(page(REFERENCE / "settings.md")) if name.startswith("strangle.")}
    assert ids == listed != set()


def test_every_exit_code_is_explained() -> None:
    assert undocumented_codes(page(REFERENCE / "exit-codes.md")) == []


def test_errors_with_a_code_of_their_own_are_named_beside_it() -> None:
    table = rows(page(REFERENCE / "exit-codes.md").partition("## Which errors")[2])
    said = {name: row[-1] for first, row in table.items() for name in re.findall(r"\w+", first)}
    for error in vars(errors).values():
        if inspect.isclass(error) and issubclass(error, errors.StrangleError) and error.exit_code != ExitCode.ERROR:
            assert said.get(error.__name__) == str(int(error.exit_code)), error


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_of_every_command_is_explained(name: str) -> None:
    assert undocumented_options(page(REFERENCE / "commands.md"), name, command(name)) == []


def test_every_part_of_a_playbook_is_explained() -> None:
    known = quoted(page(REFERENCE / "playbook.md"))
    names = [name for name in Playbook.__annotations__]
    names += [name for name in inspect.signature(Projection.__init__).parameters if name != "self"]
    names += [field.name for kind in (Route, Gates) for field in dataclasses.fields(kind)]
    assert [name for name in names if name not in known] == []


@pytest.mark.parametrize("kind", DifferenceKind)
def test_every_class_of_difference_is_named(kind: DifferenceKind) -> None:
    assert kind.value in quoted(page(REFERENCE / "commands.md"))
    assert kind.value in quoted(page(RUNBOOKS / "verify.md"))


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_has_a_complete_runbook(phase: Phase) -> None:
    assert incomplete_runbook(page(RUNBOOKS / f"{phase}.md"), phase) == []


@pytest.mark.parametrize("name", EMERGENCIES)
def test_every_emergency_has_a_page_with_its_steps_and_is_listed(name: str) -> None:
    text = page(RUNBOOKS / f"{name}.md")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == STEPS
    assert "manage.py strangle_" in text
    assert f"({name}.md)" in page(RUNBOOKS / "README.md")


def test_the_table_of_phases_is_the_code_s() -> None:
    table = rows(page(ROOT / "README.md").partition("## The seven phases")[2].partition("\n## ")[0])
    for number, phase in enumerate(Phase, 1):
        name, *_, said, _undone = table[str(number)]
        assert name == f"[`{phase}`](playbooks/runbooks/{phase}.md)"
        assert said.strip("`") == MOVE_COMMANDS.get(phase, "")


def test_every_decision_is_listed_and_has_its_parts() -> None:
    index = page(ROOT / "docs" / "decisions" / "README.md")
    records = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    assert len(records) >= 6
    for record in records:
        assert record.name in index
        parts = re.findall(r"^## (.+)$", page(record), re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences", "Shown by"], record.name


def test_the_tests_that_decisions_and_guarantees_cite_exist() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for path in (ROOT / "docs").rglob("*.md"):
        for name in re.findall(r"`(test_\w+)", page(path)):
            assert f"def {name}(" in sources, f"{path.name}: {name}"
        for place in re.findall(r"`(tests/[\w/]+\.py)`", page(path)):
            assert (ROOT / place).exists(), f"{path.name}: {place}"


def test_a_missing_setting_and_a_wrong_default_are_found() -> None:
    text = page(REFERENCE / "settings.md")
    assert undocumented_settings(text, {**defaults(), "PATIENCE_SECONDS": 1.0}) == ["PATIENCE_SECONDS has no row"]
    assert undocumented_settings(text.replace("`1000`", "`100`"), defaults()) == [
        "BATCH_ROWS: the default is 1000, not `100`"
    ]


def test_a_missing_exit_code_is_found() -> None:
    text = page(REFERENCE / "exit-codes.md")
    assert undocumented_codes(text.replace("`LOCKED`", "`BUSY`")) == ["5 LOCKED"]
    assert undocumented_codes("") == [f"{code.value} {code.name}" for code in ExitCode]


def test_a_missing_option_section_or_example_is_found() -> None:
    text, parser = page(REFERENCE / "commands.md"), command("strangle_backfill")
    assert undocumented_options(text.replace("`--replace`", "that one"), "strangle_backfill", parser) == [
        "strangle_backfill --replace"
    ]
    assert undocumented_options(text.replace("## strangle_backfill", "## backfill"), "strangle_backfill", parser) == [
        "strangle_backfill has no section"
    ]
    assert undocumented_options(text.replace("manage.py strangle_backfill", ""), "strangle_backfill", parser) == [
        "strangle_backfill has no example"
    ]


def test_a_runbook_that_lacks_something_is_found() -> None:
    text = page(RUNBOOKS / "cutover.md")
    assert gates_of(Phase.CUTOVER) >= {"soaked", "verified", "no_dead_letters"}
    assert incomplete_runbook(text.replace("`soaked`", "soaked"), Phase.CUTOVER) == ["gate 'soaked' is not explained"]
    assert incomplete_runbook(text.replace("## Watch", "## Look"), Phase.CUTOVER) == [
        f"its sections are not {SECTIONS}"
    ]
    assert incomplete_runbook(text.replace("Envoy", "It"), Phase.CUTOVER) == ["it does not speak of 'Envoy'"]
    assert incomplete_runbook(text.replace("strangle_rollback", "x"), Phase.CUTOVER) == [
        "it does not say how to go back"
    ]
    assert incomplete_runbook(text.replace("manage.py strangle_cutover", "x"), Phase.CUTOVER) == [
        "it does not show strangle_cutover"
    ]
