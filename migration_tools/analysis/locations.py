"""Where in the source a model, a field, a class or a function is."""

import ast
import inspect
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.db.models import Model

from migration_tools.analysis.findings import Place


@lru_cache(maxsize=4096)
def shown_path(filename: str) -> str:
    """A file as a reader would name it: below the project, or below where packages are installed."""
    path = Path(filename)
    installed = [Path(entry) for entry in sys.path if entry.endswith("-packages")]
    for root in [*installed, Path.cwd(), *(Path(entry) for entry in sys.path if entry)]:
        try:
            return path.relative_to(root).as_posix()
        except ValueError:
            continue
    return path.name


def place_of(thing: Any) -> Place:
    """The place of a class or a function; empty where there is no source."""
    try:
        filename = inspect.getsourcefile(thing)
        line = inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):
        return Place()
    return Place(file=shown_path(filename), line=line) if filename else Place()


def place_of_field(model: type[Model], name: str) -> Place:
    """The line on which a model, or one of the classes it inherits from, declares a field."""
    for each in model.__mro__:
        filename = _source_file(each)
        line = _assignments(filename).get((each.__qualname__, name)) if filename else None
        if filename and line:
            return Place(file=shown_path(filename), line=line)
    return place_of(model)


def _source_file(thing: type) -> str | None:
    try:
        return inspect.getsourcefile(thing)
    except (OSError, TypeError):
        return None


@lru_cache(maxsize=1024)
def _assignments(filename: str) -> dict[tuple[str, str], int]:
    """(class, attribute) → line, of a file."""
    found: dict[tuple[str, str], int] = {}
    try:
        tree = ast.parse(Path(filename).read_text())
    except (OSError, SyntaxError, UnicodeDecodeError):
        return found
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for statement in node.body:
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            for target in targets:
                if isinstance(target, ast.Name):
                    found[node.name, target.id] = statement.lineno
    return found
