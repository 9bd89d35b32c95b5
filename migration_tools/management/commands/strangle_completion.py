"""Print a completion script for a shell: commands, their options and choices, and the contexts of the playbooks."""

import shlex
from argparse import Action, ArgumentParser, _SubParsersAction
from typing import Any

from django.core.management import get_commands, load_command_class
from django.core.management.base import CommandParser

from migration_tools.management.examples import Examples
from migration_tools.playbook.registry import load

HEAD = "# completion of manage.py strangle_* for {shell}; made by manage.py strangle_completion {shell}\n"
#: What either shell chooses from: `command` is the one typed so far, `before` the word before the one that is typed.
CHOICE = """  local offered=""
  case "$command:$before" in
{choices}  esac
  if [[ -z "$offered" ]]; then
    case "$command" in
      "") offered={commands} ;;
{options}    esac
  fi
"""
BASH = """_strangle() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" command="" each
  case "${{COMP_WORDS[0]}}" in
    *python*) [[ "${{COMP_WORDS[1]}}" == *manage.py && $COMP_CWORD -gt 1 ]] || return ;;
  esac
  for each in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$each" in strangle_*) command="$each" ;; esac
  done
{choice}  COMPREPLY=($(compgen -W "$offered" -- "$word"))
}}
complete -o default -F _strangle manage.py ./manage.py python python3
"""
# Native: with bashcompinit a substring of an array is a history modifier, and `words` is zsh's own.
ZSH = """_strangle() {{
  local before="${{words[CURRENT-1]}}" command="" each
  for each in "${{(@)words[1,CURRENT-1]}}"; do
    case "$each" in strangle_*) command="$each" ;; esac
  done
{choice}  compadd -- ${{=offered}} || _files
}}
_strangle_python() {{
  if [[ "${{words[2]:t}}" == manage.py && $CURRENT -gt 2 ]]; then _strangle; else _python "$@"; fi
}}
(( $+functions[compdef] )) || {{ autoload -U +X compinit && compinit }}
compdef _strangle manage.py
compdef _strangle_python python python3
"""
SHELLS = {"bash": BASH, "zsh": ZSH}


class Command(Examples):
    """Needs no database; source its output: `source <(python manage.py strangle_completion bash)`."""

    help = "Print a completion script for bash or zsh, made from the commands as they are."
    examples = ("bash", "zsh")
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("shell", choices=list(SHELLS), help="for which shell")

    def handle(self, *args: Any, **options: Any) -> None:
        names = sorted(name for name in get_commands() if name.startswith("strangle_"))
        contexts = sorted(load())
        choices, words = "", ""
        for name in names:
            parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
            found, valued = words_of(parser)
            words += f"      {name}) offered={shlex.quote(' '.join([*found, *contexts]))} ;;\n"
            for option, values in valued.items():
                choices += f"    {name}:{option}) offered={shlex.quote(' '.join(values))} ;;\n"
        choice = CHOICE.format(commands=shlex.quote(" ".join(names)), choices=choices, options=words)
        shell = options["shell"]
        self.stdout.write(HEAD.format(shell=shell) + SHELLS[shell].format(choice=choice))


def words_of(parser: ArgumentParser) -> tuple[list[str], dict[str, list[str]]]:
    """The words that may follow a command, and those that may follow one of its options."""
    words: list[str] = []
    valued: dict[str, list[str]] = {}
    for action in parser._actions:
        words += action.option_strings
        if isinstance(action, _SubParsersAction):
            for name, sub in action.choices.items():
                more, further = words_of(sub)
                words += [name, *more]
                valued |= further
        elif action.choices is not None:
            values = _texts(action)
            if action.option_strings:
                valued |= dict.fromkeys(action.option_strings, values)
            else:
                words += values
    return list(dict.fromkeys(words)), valued


def _texts(action: Action) -> list[str]:
    return [str(each) for each in action.choices or ()]
