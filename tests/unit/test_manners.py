"""The manners of every command: --help with examples that parse, exit codes, JSON where it answers, completion."""

import os
import re
import shlex
import subprocess
from argparse import ArgumentParser, _SubParsersAction
from io import StringIO

import pytest
from django.core.management import call_command, load_command_class

from migration_tools.errors import ExitCode
from migration_tools.management.examples import Examples
from tests.examples.test_docs import COMMANDS

#: Commands that work until they are told to stop, or read or write a stream of lines.
WORK_ON = {"strangle_changes", "strangle_consume", "strangle_ingest", "strangle_operate", "strangle_proxy"}
PRINT_THEMSELVES = {"strangle_completion", "strangle_event_store", "strangle_init", "strangle_service"}


def parser(name: str) -> ArgumentParser:
    return load_command_class("migration_tools", name).create_parser("manage.py", name)


def options(of: ArgumentParser) -> set[str]:
    found = set()
    for action in of._actions:
        found |= set(action.option_strings)
        if isinstance(action, _SubParsersAction):
            found |= {option for sub in action.choices.values() for option in options(sub)}
    return found


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_helps_with_examples_that_can_be_typed(name: str) -> None:
    made = parser(name)
    found = examples(name)
    assert found, f"{name} --help shows no example"
    for example in found:
        made.parse_args(shlex.split(example))
    text = load_command_class("migration_tools", name).help
    assert re.match(r"[A-Z]", text), name


def examples(name: str) -> list[str]:
    """What follows the command's name in the examples of its help."""
    command = load_command_class("migration_tools", name)
    if isinstance(command, Examples):
        text = parser(name).format_help()
        for each in command.examples:
            assert f"  manage.py {name} {each}".rstrip() in text
        for code in ExitCode:
            assert f"{code.value} {code.name.lower().replace('_', ' ')}" in text
        return list(command.examples)
    return re.findall(rf"Example: (?:manage\.py )?{name}(.*)$", command.help)


@pytest.mark.parametrize("name", sorted(COMMANDS - WORK_ON - PRINT_THEMSELVES))
def test_every_command_that_answers_answers_programs_too(name: str) -> None:
    assert "--format" in options(parser(name)), name


def test_a_command_without_examples_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from migration_tools.management.commands.strangle_backfill import Command

    monkeypatch.setattr(Command, "examples", ())
    assert examples("strangle_backfill") == []


def completed(line: str) -> set[str]:
    """What bash offers at the end of a line, by the script that the command prints."""
    out = StringIO()
    call_command("strangle_completion", "bash", stdout=out)
    words = line.split(" ")
    typed = f"COMP_WORDS=({' '.join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}"
    ask = f"{typed}; _strangle; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{out.getvalue()}\n{ask}"], capture_output=True, text=True, check=True, env=os.environ
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("manage.py strangle_back", {"strangle_backfill"}),
        ("manage.py strangle_backfill --work", {"--workers"}),
        ("manage.py strangle_backfill ord", {"orders"}),
        ("manage.py strangle_backfill orders --format ", {"text", "json"}),
        ("manage.py strangle_route sh", {"show"}),
    ],
)
def test_bash_completes_commands_options_choices_and_contexts(line: str, offered: set[str]) -> None:
    assert completed(line) == offered
