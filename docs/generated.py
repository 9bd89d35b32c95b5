"""Directives that write the reference from the code: commands, settings, checks, metrics, events.

Each page's part is a function that gives lines of Markdown; tests/unit/test_generated_reference.py holds them to the
code without Sphinx.
"""

import ast
import dataclasses
import re
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parent.parent
ID = r"[EW]\d{3}"
#: `E001: what it says. E002: …` in the docstring of whatever finds it, up to the next id or paragraph.
SAID = re.compile(rf"\b({ID}):\s+(.+?)(?=\s+{ID}:\s|\n\s*\n|\Z)", re.DOTALL)


def commands() -> list[str]:
    """What each command's --help says, and that of each of its actions."""
    from django.core.management import get_commands, load_command_class

    found: list[str] = []
    for name in sorted(name for name in get_commands() if name.startswith("strangle_")):
        parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
        for title, each in _parsers(name, parser):
            found += [f"**{title}**", "", "```text", *each.format_help().splitlines(), "```", ""]
    return found


def _parsers(title: str, parser: ArgumentParser) -> Iterator[tuple[str, ArgumentParser]]:
    yield title, parser
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            for word, made in action.choices.items():
                yield from _parsers(f"{title} {word}", made)


def settings() -> list[str]:
    """Every setting with its type and default."""
    from migration_tools.conf import Settings

    rows = [
        f"| `{field.name}` | `{_type(field.type)}` | `{getattr(Settings(), field.name)!r}` |"
        for field in dataclasses.fields(Settings)
    ]
    return ["| setting | type | default |", "|---|---|---|", *rows]


def checks() -> list[str]:
    """Every system check with what the docstring of the function that finds it says."""
    said: dict[str, str] = {}
    for path in sorted((ROOT / "migration_tools").rglob("*.py")):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if SAID.search(text) else ():
            if isinstance(node, ast.FunctionDef) and (told := ast.get_docstring(node)):
                for name, says in SAID.findall(told):
                    if name in said:
                        raise ValueError(f"{path.name} says again what {name} is")
                    said[name] = " ".join(says.split())
    rows = [f"| `strangle.{name}` | {said[name]} |" for name in sorted(said, key=lambda name: (name[1:], name))]
    return ["| check | says |", "|---|---|", *rows]


def metrics() -> list[str]:
    """Every metric with its type and help text."""
    from migration_tools.observability.figures import FAMILIES

    rows = [f"| `{name}` | {kind} | {what} |" for name, (kind, what) in FAMILIES.items()]
    return ["| metric | type | help |", "|---|---|---|", *rows]


def events() -> list[str]:
    """The envelope, the toolkit's own events, and every released contract of the example with its payload."""
    from migration_tools.contracts.released import read
    from migration_tools.messaging.envelope import Envelope
    from migration_tools.projections.state_events import COMPLETED

    fields = [f"| `{_camel(each.name)}` | `{_type(each.type)}` |" for each in dataclasses.fields(Envelope)]
    rows = [
        f"| `{kind}` | {version} | `{stream}` | {', '.join(found.publishers)} | {found.contract.description} "
        f"| {_payload(found.contract.schema)} |"
        for (stream, kind), versions in sorted(read(ROOT / "playbooks" / "contracts").items())
        for version, found in sorted(versions.items())
    ]
    own = f"| `{COMPLETED}` | 1 | every stream of state events | who owns it | All rows have been published. | |"
    return [
        "Every event travels in this envelope:",
        "",
        "| field | type |",
        "|---|---|",
        *fields,
        "",
        "Event types with a contract, and the payload's fields; those in brackets may be missing. What a saga's",
        "reactions emit is drawn by `strangle_sagas graph`.",
        "",
        "| event | version | stream | published by | says | payload |",
        "|---|---|---|---|---|---|",
        own,
        *rows,
    ]


def _payload(schema: Any) -> str:
    needed = schema.get("required", ())
    return ", ".join(f"`{name}`" if name in needed else f"[`{name}`]" for name in schema.get("properties", {}))


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _type(annotation: Any) -> str:
    text = getattr(annotation, "__name__", "") if isinstance(annotation, type) else str(annotation)
    text = str(annotation) if "[" in str(annotation) else text
    return text.replace("collections.abc.", "").replace("typing.", "").replace("|", "or")


PARTS: dict[str, Callable[[], list[str]]] = {
    "generated-commands": commands,
    "generated-settings": settings,
    "generated-checks": checks,
    "generated-metrics": metrics,
    "generated-events": events,
}


class Generated(SphinxDirective):
    """Parses the Markdown of the part that it is named after, as if it stood in the page."""

    def run(self) -> list[nodes.Node]:
        """Called by Sphinx."""
        django.setup()
        node = nodes.section()
        node.document = self.state.document
        self.state.nested_parse(StringList(PARTS[self.name](), "generated"), 0, node)
        return node.children


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    for name in PARTS:
        app.add_directive(name, Generated)
    return {"parallel_read_safe": False}
