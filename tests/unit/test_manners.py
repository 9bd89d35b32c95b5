"""The manners of every command: --help with examples that parse, exit codes, JSON where it answers, completion."""

import os
import pty
import re
import select
import shlex
import subprocess
import time
from argparse import ArgumentParser, _SubParsersAction
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command, load_command_class

from migration_tools.errors import ExitCode
from migration_tools.management.examples import Examples
from tests.architecture.tree import ROOT
from tests.examples.test_docs import COMMANDS

#: What each command, or each of its actions, does: it reads, it changes something and ends, or it works on until told
#: to stop. Those that change something say with --dry-run what they would do.
READS, CHANGES, WORKS_ON = "reads", "changes", "works on"
NATURES: dict[str, str] = {
    "strangle_advise": READS,
    "strangle_analyze": READS,
    "strangle_archive": READS,
    "strangle_backfill": CHANGES,
    "strangle_chain": READS,
    "strangle_changes": WORKS_ON,
    "strangle_completion": READS,
    "strangle_consume": WORKS_ON,
    "strangle_contracts": CHANGES,
    "strangle_cutover": CHANGES,
    "strangle_dead_letters": CHANGES,
    "strangle_decommission": CHANGES,
    "strangle_doctor": CHANGES,
    "strangle_dual_write": CHANGES,
    "strangle_event_store audit": READS,
    "strangle_event_store drop-snapshots": CHANGES,
    "strangle_event_store snapshots": CHANGES,
    "strangle_export": CHANGES,
    "strangle_guard": CHANGES,
    "strangle_ingest": WORKS_ON,
    "strangle_init": CHANGES,
    "strangle_loose_key new": CHANGES,
    "strangle_loose_key orphans": READS,
    "strangle_operate": WORKS_ON,
    "strangle_projection new": CHANGES,
    "strangle_projection observed": READS,
    "strangle_provision": CHANGES,
    "strangle_proxy run": WORKS_ON,
    "strangle_prune": CHANGES,
    "strangle_rebuild": CHANGES,
    "strangle_relay": WORKS_ON,
    "strangle_repair": CHANGES,
    "strangle_replay": CHANGES,
    "strangle_replica": CHANGES,
    "strangle_replicate dead": READS,
    "strangle_replicate poll": WORKS_ON,
    "strangle_replicate rebuild": CHANGES,
    "strangle_replicate reconcile": CHANGES,
    "strangle_replicate retry": CHANGES,
    "strangle_replicate send": WORKS_ON,
    "strangle_replicate status": READS,
    "strangle_report": READS,
    "strangle_rollback": CHANGES,
    **{f"strangle_route {name}": READS for name in ("diff", "doctor", "log", "propose", "render", "show")},
    **{
        f"strangle_route {name}": CHANGES
        for name in ("drain", "forget", "hold", "kill", "release", "rollback", "rule", "set", "unrule")
    },
    "strangle_route follow": WORKS_ON,
    "strangle_sagas": CHANGES,
    "strangle_service": CHANGES,
    "strangle_sessions": CHANGES,
    **{f"strangle_shadow {name}": READS for name in ("report", "rules")},
    **{f"strangle_shadow {name}": CHANGES for name in ("add", "approve", "propose", "reject")},
    "strangle_shadow run": WORKS_ON,
    "strangle_shard show": READS,
    **{f"strangle_shard {name}": CHANGES for name in ("add", "init", "merge", "move", "split")},
    "strangle_sor": READS,
    "strangle_state_events": CHANGES,
    "strangle_status": READS,
    "strangle_switch_reads": CHANGES,
    "strangle_top": READS,
    "strangle_verify": CHANGES,
}
#: Those that change something without --dry-run, and what one does in its place.
NO_DRY_RUN = {"strangle_doctor": "without --mend it only looks"}
#: Those that answer and have no --format json, and why.
NO_JSON = {
    "strangle_completion": "a script",
    "strangle_event_store audit": "a JSON object a line already",
    "strangle_init": "a Python module",
    "strangle_shadow add": "one line",
    "strangle_shadow approve": "one line a rule",
    "strangle_shadow reject": "one line a rule",
}


def parser(name: str) -> ArgumentParser:
    return load_command_class("migration_tools", name).create_parser("manage.py", name)


def leaves() -> dict[str, ArgumentParser]:
    """Every command, or each of its actions where these have parsers of their own."""
    found: dict[str, ArgumentParser] = {}
    for name in COMMANDS:
        made = parser(name)
        actions = [each for each in made._actions if isinstance(each, _SubParsersAction)]
        found |= {f"{name} {word}": sub for each in actions for word, sub in each.choices.items()}
        if not actions:
            found[name] = made
    return found


LEAVES = leaves()


def options(of: ArgumentParser) -> set[str]:
    return {option for action in of._actions for option in action.option_strings}


def test_it_is_said_of_every_command_and_action_whether_it_changes_something() -> None:
    assert set(NATURES) == set(LEAVES)
    assert set(NO_DRY_RUN) | set(NO_JSON) <= set(LEAVES)


@pytest.mark.parametrize("name", sorted(name for name in LEAVES if NATURES.get(name) == CHANGES))
def test_what_changes_something_can_say_what_it_would_do(name: str) -> None:
    assert ("--dry-run" in options(LEAVES[name])) != (name in NO_DRY_RUN)


@pytest.mark.parametrize("name", sorted(name for name in LEAVES if NATURES.get(name) != WORKS_ON))
def test_what_answers_answers_programs_too(name: str) -> None:
    assert ("--format" in options(LEAVES[name])) != (name in NO_JSON)


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_every_option_says_what_it_does(name: str) -> None:
    mute = [
        action.option_strings or action.dest
        for action in LEAVES[name]._actions
        if action.help is None and not {"--format", "-h"} & set(action.option_strings) and action.metavar is None
        and action.dest not in {"context", "stream", "action", "copy", "proxy", "side", "before", "after", "number"}
    ]  # fmt: skip
    assert mute == []


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_helps_with_examples_that_can_be_typed_and_its_exit_codes(name: str) -> None:
    made, command = parser(name), load_command_class("migration_tools", name)
    assert isinstance(command, Examples)
    assert command.examples, f"{name} --help shows no example"
    text = made.format_help()
    for example in command.examples:
        assert f"  manage.py {name} {example}".rstrip() in text
        made.parse_args(shlex.split(example))
    for code in ExitCode:
        assert f"{code.value} {code.name.lower().replace('_', ' ')}" in text
    assert re.match(r"[A-Z]", command.help), name


def test_the_page_of_exit_codes_has_every_one() -> None:
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text()
    rows = re.findall(r"^\| (\d) \| `(\w+)` \|", page, re.MULTILINE)
    assert rows == [(str(code.value), code.name) for code in ExitCode]


def test_what_writes_over_a_line_asks_for_a_terminal_first() -> None:
    """Progress is lines where nobody looks at a terminal: every file that moves a cursor asks."""
    room = ROOT / "migration_tools"
    found = {path: text for path in room.rglob("*.py") if "/testing/" not in str(path) and (text := path.read_text())}
    movers = {path for path, text in found.items() if re.search(r"rich\.(progress|live)|\\r\\x1b|\\x1b\[", text)}
    assert {path.name for path in movers} >= {"progress.py", "strangle_top.py", "strangle_verify.py"}
    assert [path.name for path in movers if "isatty" not in found[path]] == []


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_every_command_action_and_long_option(shell: str) -> None:
    words = dict(re.findall(r"^      (strangle_\w+)\) offered='([^']*)' ;;$", script(shell), re.MULTILINE))
    assert set(words) == COMMANDS
    for leaf, made in LEAVES.items():
        name, _, action = leaf.partition(" ")
        wanted = {each for each in options(made) if each.startswith("--")} | ({action} if action else set())
        assert wanted <= set(words[name].split()), leaf


def script(shell: str) -> str:
    out = StringIO()
    call_command("strangle_completion", shell, stdout=out)
    return out.getvalue()


#: What a shell is to offer at the end of a line.
OFFERED = [
    ("manage.py strangle_back", {"strangle_backfill"}),
    ("python manage.py strangle_repai", {"strangle_repair"}),
    ("python manage.py strangle_repair orders --form", {"--format"}),
    ("manage.py strangle_backfill --work", {"--workers"}),
    ("./manage.py strangle_backfill ord", {"orders"}),
    ("manage.py strangle_backfill orders --format ", {"text", "json"}),
    ("python3 ../manage.py strangle_route sh", {"show"}),
    ("python other.py strangle_back", set()),
]


@pytest.mark.parametrize(("line", "offered"), OFFERED)
def test_bash_completes_commands_options_choices_and_contexts(line: str, offered: set[str]) -> None:
    words = line.split(" ")
    typed = f"COMP_WORDS=({' '.join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}"
    ask = f"{typed}; _strangle; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script('bash')}\n{ask}"], capture_output=True, text=True, check=True, env=os.environ
    )
    assert (set(done.stdout.split()), done.stderr) == (offered, "")


def test_bash_completes_for_python_too() -> None:
    ask = "complete -p manage.py python python3"
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script('bash')}\n{ask}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("-F _strangle") == 3


def test_zsh_completes_the_same_at_its_own_prompt(tmp_path: Path) -> None:
    """A zsh at a terminal, its own completion system, Tab pressed; what it made of the line is echoed."""
    (tmp_path / "script").write_text(script("zsh"))
    terminal, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(tmp_path), "ZDOTDIR": str(tmp_path)}
    process = subprocess.Popen(
        ["zsh", "-f", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=environment,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    said = ""

    def answer(typed: str, until: str) -> str:
        nonlocal said
        said = ""
        os.write(terminal, typed.encode())
        deadline = time.monotonic() + 30
        while not (found := re.search(until, said, re.DOTALL)):
            assert time.monotonic() < deadline, said
            if select.select([terminal], [], [], 0.5)[0]:
                said += os.read(terminal, 65536).decode(errors="replace")
        return found[1]

    try:
        answer("autoload -U compinit; compinit -u -D; source ./script; echo 'read'y\n", r"\n(ready)\r")
        for line, offered in OFFERED:
            # Tab, then the line between marks as an argument of echo; what is no answer of echo has quotes around it.
            got = answer(f"{line}\t\x01echo '<\x05>'\n", r"\n<([^']*?)>\r")
            if len(offered) == 1:
                assert got.rstrip() == " ".join([*line.split(" ")[:-1], *offered]), line
            else:
                assert got == line, "two choices, or none, change nothing"
            assert "unrecognized" not in said
    finally:
        process.kill()
        process.wait(10)
        os.close(terminal)
