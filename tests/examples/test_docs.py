"""What README, docs and runbooks show can be typed: commands, options, make targets, links; each check can fail."""

import re
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import CommandError, load_command_class

from demo.__main__ import _parser as demo_parser
from demo.oscar.__main__ import _parser as oscar_parser
from migration_tools.observability.figures import FAMILIES
from tests.architecture.tree import ROOT, project_files, relative
from tests.fences import blocks, is_typed, without_blocks

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
VARIABLES = set(re.findall(r"^([A-Z_]+) \??=", MAKEFILE, re.MULTILINE))
DEMO_PARSERS = {"demo": demo_parser, "up": demo_parser, "demo-oscar": oscar_parser}
COMMANDS = {path.stem for path in (ROOT / "migration_tools" / "management" / "commands").glob("strangle_*.py")}

LINK = re.compile(r"(?<!\\)\[[^\]\n]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)

Check = Callable[[Path, str], Iterable[str]]


def shell_lines(text: str) -> list[str]:
    """Give the lines of fenced blocks that are not code of another language, and of commands in back quotes."""
    lines = [line for said, body in blocks(text) if is_typed(said) for line in body.splitlines()]
    return lines + re.findall(r"`((?:python manage\.py|make) [^`\n]+)`", without_blocks(text))


def parse(line: str) -> list[str]:
    """Split a line as a shell does, without its comment."""
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return []


def wrong_commands(path: Path, text: str) -> Iterable[str]:
    """A `manage.py strangle_…` line names a command that exists, with options that it takes."""
    for line in shell_lines(text):
        words = parse(line)
        found = next((place for place, word in enumerate(words) if word.endswith("manage.py")), None)
        if found is None or not words[found + 1 :] or not words[found + 1].startswith("strangle_"):
            continue
        name, arguments = words[found + 1], words[found + 2 :]
        if name not in COMMANDS:
            yield f"{line.strip()!r}: there is no command {name!r}"
            continue
        try:
            load_command_class("migration_tools", name).create_parser("manage.py", name).parse_args(arguments)
        except CommandError as error:
            yield f"{line.strip()!r}: {error}"


def unknown_names(path: Path, text: str) -> Iterable[str]:
    """A name `strangle_…` in back quotes is a command, a table, an app, a metric or a sequence of ours."""
    known = COMMANDS | set(FAMILIES) | {model._meta.db_table for model in apps.get_models()}
    known |= {config.label for config in apps.get_app_configs()}
    # Rooms that a service installs, and this suite's settings do not.
    for path in [*ROOT.glob("migration_tools/*/models.py"), *ROOT.glob("migration_tools/*/apps.py")]:
        known |= set(re.findall(r'"(strangle_[a-z_]+)"', path.read_text()))
    for name in re.findall(r"`(strangle_[a-z_]+)[` ]", without_blocks(text)):
        if name not in known and not name.startswith("strangle_quarantine_"):
            yield f"{name!r} is neither command nor table"


def wrong_targets(path: Path, text: str) -> Iterable[str]:
    """A `make …` line names targets and variables of the Makefile; arguments for the demo are ones that it takes."""
    for line in shell_lines(text):
        words = parse(re.split(r"\s{2,}", line.strip())[0])  # a menu explains its lines after a gap
        if words[:1] != ["make"]:
            continue
        targets = [word for word in words[1:] if "=" not in word]
        given = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        for target in targets:
            if target not in TARGETS:
                yield f"{line.strip()!r}: the Makefile has no target {target!r}"
        for name in given:
            if name not in VARIABLES:
                yield f"{line.strip()!r}: the Makefile has no variable {name!r}"
        for target in DEMO_PARSERS.keys() & set(targets):
            yield from _refused_by_demo(line, target, given.get("ARGS", ""))


def _refused_by_demo(line: str, target: str, arguments: str) -> Iterable[str]:
    try:
        DEMO_PARSERS[target]().parse_args(shlex.split(arguments))
    except SystemExit:
        yield f"{line.strip()!r}: the demo does not take {arguments!r}"


def anchors(text: str) -> set[str]:
    """Name the headings as a viewer links them."""
    words = (re.sub(r"[^\w\- ]", "", title.lower()) for title in HEADING.findall(without_blocks(text)))
    return {title.strip().replace(" ", "-") for title in words}


def dead_links(path: Path, text: str) -> Iterable[str]:
    """A link within the project leads to a file, and to a heading of it."""
    for target in LINK.findall(without_blocks(text)):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        file = (path.parent / place).resolve() if place else path
        if place and not file.exists():
            yield f"{target!r} leads nowhere"
        elif anchor and anchor not in anchors(text if file == path else file.read_text()):
            yield f"{target!r}: the file has no such heading"


def unclosed_blocks(path: Path, text: str) -> Iterable[str]:
    """A fenced block has an end, or the checks would read past it."""
    if len(re.findall(r"^ {0,3}```", text, re.MULTILINE)) % 2:
        yield "a fenced block is not closed"


CHECKS: list[Check] = [wrong_commands, unknown_names, wrong_targets, dead_links, unclosed_blocks]
PAGES = list(project_files(".md"))


@pytest.mark.parametrize("check", CHECKS)
def test_every_page_keeps_to_what_there_is(check: Check) -> None:
    faults = [f"{relative(path)}: {fault}" for path in PAGES for fault in check(path, path.read_text())]
    assert faults == []


@pytest.mark.parametrize(
    ("check", "text", "says"),
    [
        (wrong_commands, "```\npython manage.py strangle_bakfill orders\n```", "no command 'strangle_bakfill'"),
        (wrong_commands, "```\npython manage.py strangle_backfill orders --fast\n```", "unrecognized"),
        (wrong_commands, "```\npython manage.py strangle_cutover  # which?\n```", "required: context"),
        (wrong_commands, "```\npython manage.py strangle_route put orders\n```", "invalid choice: 'put'"),
        (wrong_commands, "run `python manage.py strangle_switch_reads orders --percent all`", "invalid float value"),
        (unknown_names, "see `strangle_dead_letter` and `strangle_live_letters`", "'strangle_live_letters' is neither"),
        (wrong_targets, "```\nmake dmo\n```", "no target 'dmo'"),
        (wrong_targets, '```\nmake test ARG="-x"\n```', "no variable 'ARG'"),
        (wrong_targets, '```\nmake demo ARGS="--customers 5"\n```', "does not take '--customers 5'"),
        (wrong_targets, "`make demo ARGS=\"--seed seven\"`", "does not take '--seed seven'"),
        (dead_links, "[here](nowhere.md)", "'nowhere.md' leads nowhere"),
        (dead_links, "[here](README.md#the-eight-phases)", "no such heading"),
        (dead_links, "# One\n[here](#two)", "no such heading"),
        (wrong_commands, "```fails 3\nx\n```\n\nprose\n\n```\npython manage.py strangle_bakfill\n```", "no command"),
        (wrong_commands, "```fails 3\npython manage.py strangle_bakfill\n```", "no command 'strangle_bakfill'"),
        (unclosed_blocks, "```\nmake demo\n", "not closed"),
    ],
)  # fmt: skip
def test_each_check_fails_on_what_it_is_for(check: Check, text: str, says: str) -> None:
    faults = list(check(ROOT / "page.md", text))
    assert len(faults) == 1
    assert says in faults[0]


def test_the_checks_read_the_pages() -> None:
    readme = (ROOT / "README.md").read_text()
    names = {words[2] for line in shell_lines(readme) if (words := parse(line))[:2] == ["python", "manage.py"]}
    assert {f"strangle_{name}" for name in ("dual_write", "backfill", "verify", "switch_reads", "cutover")} <= names
    assert {"make demo", "make test"} <= {" ".join(parse(line)) for line in shell_lines(readme)}
    assert {"README.md", "docs/README.md", "playbooks/runbooks/cutover.md", "CONTRIBUTING.md"} <= {
        relative(p) for p in PAGES
    }
    assert "the-seven-phases" in anchors(readme)
    # Behind a block that fails, code and prose did not change places.
    tutorial = (ROOT / "docs" / "tutorial" / "first-backfill.md").read_text()
    assert [each for each in shell_lines(tutorial) if each[:1].isupper()] == []
    assert "python manage.py strangle_repair notes" in shell_lines(tutorial)
    assert {"demo", "test", "up"} <= TARGETS
