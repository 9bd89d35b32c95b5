"""Raw SQL, writes of another context's models and calls that no tracer sees, read from the source by its tree."""

import ast
import re
from collections.abc import Iterator
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db.models import Model

from migration_tools.analysis.blind_spots import find_blind_spots
from migration_tools.analysis.context_map import ContextMap
from migration_tools.analysis.findings import Finding, Place
from migration_tools.analysis.locations import shown_path
from migration_tools.analysis.statements import parse, shape_of

_SQL = re.compile(
    r"^\s*(?:--[^\n]*\n\s*)*(SELECT\s|INSERT\s+INTO\s|UPDATE\s|DELETE\s+FROM\s|WITH\s|TRUNCATE\s|COPY\s|MERGE\s+INTO\s)",
    re.IGNORECASE,
)
_WRITES = {"create", "bulk_create", "bulk_update", "update", "delete", "update_or_create", "get_or_create", "save"}
WRITES = _WRITES | {f"a{name}" for name in _WRITES}
MANAGERS = {"objects", "_default_manager", "_base_manager"}
SKIPPED = {"migrations", "tests", "test", "testing", "conftest"}


def find_in_code(contexts: ContextMap) -> Iterator[Finding]:
    """SFA111, SFA112 and SFA113, over every module of every context but schema migrations and tests."""
    for module, path in modules(contexts):
        here = contexts.of_module(module)
        if here is not None and not contexts.is_framework(here):
            yield from Module(module, path, here, contexts).findings()


def modules(contexts: ContextMap) -> Iterator[tuple[str, Path]]:
    """(name, file) of the modules of all contexts, each once."""
    seen: set[Path] = set()
    for context in contexts.contexts.values():
        if context.framework:
            continue
        for prefix in context.code:
            for name, path in _below(prefix):
                if path not in seen and not SKIPPED & set(name.split(".")):
                    seen.add(path)
                    yield name, path


def _below(prefix: str) -> Iterator[tuple[str, Path]]:
    try:
        spec = find_spec(prefix)
    except ModuleNotFoundError:
        return
    if spec is None or spec.origin is None:
        return
    origin = Path(spec.origin)
    if origin.name != "__init__.py":
        yield prefix, origin
        return
    for path in sorted(origin.parent.rglob("*.py")):
        parts = [prefix, *path.relative_to(origin.parent).with_suffix("").parts]
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


class Module:
    """One file's tree, with what its names mean."""

    def __init__(self, name: str, path: Path, here: str, contexts: ContextMap):
        self.name = name
        self.path = path
        self.here = here
        self.contexts = contexts

    @cached_property
    def tree(self) -> ast.Module:
        try:
            return ast.parse(self.path.read_text())
        except (SyntaxError, UnicodeDecodeError):
            return ast.Module(body=[], type_ignores=[])

    def findings(self) -> Iterator[Finding]:
        """All three kinds."""
        # A docstring is no SQL, and the constant parts of an f-string are told with it.
        told = {id(node.value) for node in ast.walk(self.tree) if isinstance(node, ast.Expr)}
        told |= {id(part) for node in ast.walk(self.tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
                yield from self._raw_sql(node.value, node.lineno)
            elif isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
                yield from self._raw_sql(text, node.lineno)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                yield from self._call(node, node.func)
        for line, what in find_blind_spots(self.tree):
            yield Finding(
                rule="SFA113",
                source=self.here,
                target=self.here,
                message=f"{self.name} uses {what}",
                place=self.place(line),
                detail={"key": what},
            )

    def _raw_sql(self, text: str, line: int) -> Iterator[Finding]:
        if not _SQL.match(text):
            return
        statement = parse(shape_of(text))
        known = {table: context for table in statement.tables if (context := self.contexts.of_table(table))}
        for there in sorted(set(known.values()) - {self.here}):
            tables = tuple(sorted(table for table, context in known.items() if context == there))
            written = sorted(statement.writes & set(tables))
            does = f"writes {', '.join(written)}" if written else f"reads {', '.join(tables)}"
            yield Finding(
                rule="SFA111",
                source=self.here,
                target=there,
                message=f"raw SQL in {self.name} {does}",
                place=self.place(line),
                tables=tables,
                detail={"writes": bool(written), "key": ",".join(tables)},
            )

    def _call(self, node: ast.Call, function: ast.Attribute) -> Iterator[Finding]:
        if function.attr in WRITES:
            model = self.model_of(function.value)
            there = self.contexts.of_model(model) if model is not None else None
            if model is not None and there is not None and there != self.here:
                yield Finding(
                    rule="SFA112",
                    source=self.here,
                    target=there,
                    message=f"{self.name} calls {function.attr}() on {model._meta.label}",
                    place=self.place(node.lineno),
                    tables=(model._meta.db_table,),
                    detail={"call": function.attr, "key": f"{function.attr}:{model._meta.label}"},
                )

    def place(self, line: int) -> Place:
        """Where that line of the file is."""
        return Place(file=shown_path(str(self.path)), line=line)

    def model_of(self, node: ast.expr) -> type[Model] | None:
        """The model at the root of a chain like `User.objects.filter(…)`; None for what only runs could tell."""
        at: Any = node
        while isinstance(at, ast.Call | ast.Attribute):
            if isinstance(at, ast.Attribute) and at.attr in MANAGERS and isinstance(at.value, ast.Name):
                return self.names.get(at.value.id)
            at = at.func if isinstance(at, ast.Call) else at.value
        return None

    @cached_property
    def names(self) -> dict[str, type[Model]]:
        """What names of this module stand for models: imported, or got from the registry by literal names."""
        by_class = {(model.__module__, model.__name__): model for model in apps.get_models()}
        by_name: dict[str, list[type[Model]]] = {}
        for model in apps.get_models():
            by_name.setdefault(model.__name__, []).append(model)
        names: dict[str, type[Model]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom):
                module = self._absolute(node)
                for alias in node.names:
                    named = by_class.get((module, alias.name)) or _exported(module, by_name.get(alias.name, []))
                    if named is not None:
                        names[alias.asname or alias.name] = named
            elif isinstance(node, ast.ClassDef) and (self.name, node.name) in by_class:
                names[node.name] = by_class[self.name, node.name]
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                found = _looked_up(node.value)
                for target in node.targets:
                    if found is not None and isinstance(target, ast.Name):
                        names[target.id] = found
        return names

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.name.split(".")
        keep = len(package) - node.level + (self.path.name == "__init__.py")
        return ".".join([*package[:keep], *([node.module] if node.module else [])])


def _exported(module: str, candidates: list[type[Model]]) -> type[Model] | None:
    """A model imported from its app's package rather than from the module that defines it."""
    return next((model for model in candidates if model.__module__.startswith(f"{module}.")), None)


def _looked_up(call: ast.Call) -> type[Model] | None:
    """get_user_model(), get_model("app", "Model") and get_model("app.Model")."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    literals = [each.value for each in call.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    try:
        if name == "get_user_model":
            return get_user_model()
        if name == "get_model" and literals and len(literals) == len(call.args):
            return apps.get_model(".".join(literals))
    except (LookupError, ValueError):
        pass
    return None
