"""Directives that write the reference from the code: commands, settings, checks, metrics."""

import dataclasses
import inspect
import re
from typing import Any

import django
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Generated(SphinxDirective):
    """Parses Markdown that `lines` gives as if it stood in the page."""

    def lines(self) -> list[str]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        django.setup()
        node = nodes.section()
        node.document = self.state.document
        self.state.nested_parse(StringList(self.lines(), "generated"), 0, node)
        return node.children


class Commands(Generated):
    """What each command's --help says."""

    def lines(self) -> list[str]:
        from django.core.management import get_commands, load_command_class

        found = []
        for name in sorted(name for name in get_commands() if name.startswith("strangle_")):
            parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
            found += [f"**{name}**", "", "```text", *parser.format_help().splitlines(), "```", ""]
        return found


class SettingsTable(Generated):
    """Every setting with its type and default."""

    def lines(self) -> list[str]:
        from migration_tools.conf import Settings

        rows = [
            f"| `{field.name}` | `{_type(field.type)}` | `{getattr(Settings(), field.name)!r}` |"
            for field in dataclasses.fields(Settings)
        ]
        return ["| setting | type | default |", "|---|---|---|", *rows]


class Checks(Generated):
    """Every system check with what its function says of it."""

    def lines(self) -> list[str]:
        from migration_tools import checks

        rows = []
        for function in vars(checks).values():
            told = inspect.getdoc(function) or ""
            if inspect.isfunction(function) and re.match(r"[EW]\d+", told):
                rows.append(f"| {told.splitlines()[0].partition(':')[0]} | {told.partition(': ')[2].splitlines()[0]} |")
        return ["| check | says |", "|---|---|", *rows]


class Metrics(Generated):
    """Every metric with its type and help text."""

    def lines(self) -> list[str]:
        from migration_tools.observability.figures import FAMILIES

        rows = [f"| `{name}` | {kind} | {what} |" for name, (kind, what) in FAMILIES.items()]
        return ["| metric | type | help |", "|---|---|---|", *rows]


def _type(annotation: Any) -> str:
    return getattr(annotation, "__name__", str(annotation)).replace("collections.abc.", "").replace("typing.", "")


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    for name, directive in (
        ("generated-commands", Commands),
        ("generated-settings", SettingsTable),
        ("generated-checks", Checks),
        ("generated-metrics", Metrics),
    ):
        app.add_directive(name, directive)
    return {"parallel_read_safe": False}
