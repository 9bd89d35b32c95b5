"""Raw SQL, writes of another context's models and calls that no tracer sees, read from the source by its tree."""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
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
from migration_tools.analysis.held import NARROWS, held
from migration_tools.analysis.locations import shown_path
from migration_tools.analysis.statements import Statement, parse, shape_of
from migration_tools.analysis.texts import texts_of

_SQL = re.compile(
    r"^\s*(?:--[^\n]*\n\s*)*\(*\s*(SELECT\s|INSERT\s+INTO\s|UPDATE\s|DELETE\s+FROM\s|WITH\s|TRUNCATE\s|COPY\s|MERGE\s+INTO\s)",
    re.IGNORECASE,
)
_CONDITION = re.compile(r"^\s*(?:NOT\s+)?EXISTS\s*\(\s*SELECT\s", re.IGNORECASE)
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
        for text, line, made_of in texts_of(self.tree, self._table_of):
            yield from self.raw_sql(text, line, made_of)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
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

    def raw_sql(self, text: str, line: int, made_of: Sequence[str] = ()) -> Iterator[Finding]:
        """SFA111 of a text, but of the tables of the texts that it is made of; nothing where it is no SQL."""
        statement = _statement(text)
        if statement is None:
            return
        told = [part for each in made_of if (part := _statement(each)) is not None]
        reads = statement.reads.difference(*(each.tables for each in told))
        writes = statement.writes.difference(*(each.writes for each in told))
        yield from self._names_tables(reads | writes, writes, line)

    def _names_tables(self, names: Iterable[str], writes: Iterable[str], line: int) -> Iterator[Finding]:
        known = {table: context for table in names if (context := self.contexts.of_table(table))}
        for there in sorted(set(known.values()) - {self.here}):
            tables = tuple(sorted(table for table, context in known.items() if context == there))
            written = sorted({*writes} & set(tables))
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

    def _table_of(self, name: str) -> str | None:
        return self.names[name]._meta.db_table if name in self.names else None

    def _call(self, node: ast.Call, function: ast.Attribute) -> Iterator[Finding]:
        if function.attr == "extra":
            listed = [word.value for word in node.keywords if word.arg == "tables"]
            tables = [each.value for word in listed for each in ast.walk(word) if isinstance(each, ast.Constant)]
            yield from self._names_tables(map(str, tables), (), node.lineno)
        if function.attr in WRITES:
            model = self.model_of(function.value) or self._model_held(function.value, node)
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
            if isinstance(at, ast.Attribute) and at.attr in MANAGERS:
                return self._named(at.value)
            at = at.func if isinstance(at, ast.Call) else at.value
        return None

    def _named(self, node: ast.expr) -> type[Model] | None:
        """The model that an expression names, by itself or in its module."""
        match node:
            case ast.Name(id=name):
                return self.names.get(name)
            case ast.Attribute(attr=name, value=ast.Name() | ast.Attribute()):
                module, (by_class, by_name) = self.modules.get(ast.unparse(node.value)), self._installed
                if module is not None:
                    return by_class.get((module, name)) or _exported(module, by_name.get(name, []))
        return None

    def _model_held(self, node: ast.expr, call: ast.Call) -> type[Model] | None:
        """The model of what a name of the function around a call holds, by itself or narrowed down."""
        at: Any = node
        while isinstance(at, ast.Call) and isinstance(at.func, ast.Attribute) and at.func.attr in NARROWS:
            at = at.func.value
        return self._held.get((id(call), at.id)) if isinstance(at, ast.Name) else None

    @cached_property
    def _installed(self) -> tuple[dict[tuple[str, str], type[Model]], dict[str, list[type[Model]]]]:
        return _installed()

    @cached_property
    def _held(self) -> dict[tuple[int, str], type[Model]]:
        return held(self.tree, self._named, self.model_of)

    @cached_property
    def modules(self) -> dict[str, str]:
        """What names of this module stand for other modules, dotted ones whole."""
        found: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found |= {each.asname or each.name: each.name for each in node.names}
            elif isinstance(node, ast.ImportFrom):
                package = self._absolute(node)
                found |= {each.asname or each.name: f"{package}.{each.name}" for each in node.names}
        return found

    @cached_property
    def names(self) -> dict[str, type[Model]]:
        """What names of this module stand for models: imported, or got from the registry by literal names."""
        by_class, by_name = self._installed
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


def _installed() -> tuple[dict[tuple[str, str], type[Model]], dict[str, list[type[Model]]]]:
    """The installed models by (module, name), and by name."""
    by_name: dict[str, list[type[Model]]] = {}
    for model in apps.get_models():
        by_name.setdefault(model.__name__, []).append(model)
    return {(model.__module__, model.__name__): model for model in apps.get_models()}, by_name


def _statement(text: str) -> Statement | None:
    """What a text does if it is SQL, or a condition with a query in it."""
    if _CONDITION.match(text):
        text = f"SELECT 1 WHERE {text}"
    return parse(shape_of(text)) if _SQL.match(text) else None


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
