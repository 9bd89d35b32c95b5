"""Where other contexts' code asks for a context's rows by the ORM: each line has to become a call of the seam.

Note [certain and likely]. A chain from a model's manager is that model's, and raw SQL that names a table is too. A
relation is known by its name alone (`user.orders`, `order__status=`), so it is told as likely; the guard and the trace
tell what really runs.
"""

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.apps import apps
from django.db.models import Model

from migration_tools.analysis.code import WRITES, Module, modules
from migration_tools.analysis.context_map import ContextMap
from migration_tools.analysis.findings import Finding, Place
from migration_tools.analysis.sql_files import find_in_sql_files
from migration_tools.errors import AnalysisError
from migration_tools.seams.seam import offered_by, reads_of

QUERY, RELATION, LOOKUP, RAW = "query", "relation", "lookup", "raw SQL"
_LONGEST = 100
_ASKS_NO_ROW = {"isinstance", "issubclass", "cast", "getattr", "hasattr"}


@dataclass(frozen=True, kw_only=True)
class CallSite:
    """One line: whose code it is, what it says, and the calls of the seam that may stand there instead."""

    context: str
    kind: str
    writes: bool
    what: str
    code: str
    place: Place
    instead: tuple[str, ...]


def call_sites(context: str, contexts: ContextMap) -> list[CallSite]:
    """Every site outside the context's own code, in the order of files and lines.

    Raises:
        AnalysisError: there is no such context.
    """
    if context not in contexts.contexts:
        raise AnalysisError(f"no context is called {context!r}; known are {sorted(contexts.contexts)}")
    found = [site for name, path in modules(contexts) for site in _in_module(name, path, context, contexts)]
    found += _raw(find_in_sql_files(contexts), context, contexts)
    return sorted(found, key=lambda site: (site.place.file, site.place.line, site.kind))


def _in_module(name: str, path: Any, context: str, contexts: ContextMap) -> Iterator[CallSite]:
    here = contexts.of_module(name)
    if here is None or here == context or contexts.is_framework(here) or contexts.is_ignored(name):
        return
    module = Module(name, path, here, contexts)
    relations = _relations_into(context, contexts)
    models = {called: model for called, model in module.names.items() if contexts.of_model(model) == context}
    certain = [*_queries(module, models), *_handed(module, models)]
    told = {id(inner) for node, *_ in certain for inner in ast.walk(node)}
    likely = [each for each in _by_name(module.tree, relations) if id(each[0]) not in told]
    for node, kind, what, writes in (*certain, *likely):
        yield CallSite(
            context=here,
            kind=kind,
            writes=writes,
            what=what,
            code=" ".join(ast.unparse(node).split())[:_LONGEST],
            place=module.place(node.lineno),
            instead=_instead(context, writes=writes),
        )
    yield from _raw(module.findings(), context, contexts)


def _raw(findings: Iterable[Finding], context: str, contexts: ContextMap) -> Iterator[CallSite]:
    for finding in findings:
        if finding.rule == "SFA111" and finding.target == context and not contexts.is_framework(finding.source):
            writes = bool(finding.detail.get("writes"))
            yield CallSite(
                context=finding.source,
                kind=RAW,
                writes=writes,
                what=", ".join(finding.tables),
                code=finding.message,
                place=finding.place,
                instead=_instead(context, writes=writes),
            )


_Found = tuple[Any, str, str, bool]


def _queries(module: Module, models: Mapping[str, type[Model]]) -> Iterator[_Found]:
    """Chains from a manager of one of the models, each once, whole."""
    inner: set[int] = set()
    for node in ast.walk(module.tree):  # outer nodes come first
        if not isinstance(node, ast.Call | ast.Attribute) or id(node) in inner:
            continue
        model = module.model_of(node)
        if model is None or model not in models.values():
            continue
        calls: list[str] = []
        at: ast.expr = node
        while isinstance(at, ast.Call | ast.Attribute):
            inner.add(id(at))
            if isinstance(at, ast.Attribute):
                calls.append(at.attr)
            at = at.func if isinstance(at, ast.Call) else at.value
        yield node, QUERY, model._meta.label, bool(WRITES & set(calls))


def _handed(module: Module, models: Mapping[str, type[Model]]) -> Iterator[_Found]:
    """A model that is handed to a function (`get_object_or_404(Order, …)`) or made (`Order(…)`)."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in models:
                yield node, QUERY, models[name]._meta.label, True
            case ast.Call(func=ast.Name(id=name), args=args) if name not in _ASKS_NO_ROW:
                for each in args:
                    if isinstance(each, ast.Name) and each.id in models:
                        yield node, QUERY, models[each.id]._meta.label, False


def _by_name(tree: ast.Module, relations: dict[str, str]) -> Iterator[_Found]:
    """Attributes and lookups that are called like a relation into the context."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=attr) if attr in relations and not _is_module(node.value):
                yield node, RELATION, relations[attr], False
            case ast.keyword(arg=str(arg)) if "__" in arg and (named := set(arg.split("__")) & relations.keys()):
                yield node.value, LOOKUP, f"{arg} ({relations[min(named)]})", False


def _is_module(node: ast.expr) -> bool:
    """`models.Order` and `app.orders` are no rows: what stands before the dot is a module's or a class's name."""
    return isinstance(node, ast.Name) and (node.id == "models" or node.id[:1].isupper())


def _relations_into(context: str, contexts: ContextMap) -> dict[str, str]:
    """Names by which models of other contexts reach this one's, forwards and backwards, and the model reached."""
    found: dict[str, str] = {}
    for model in apps.get_models():
        if contexts.of_model(model) in (None, context):
            continue
        for field in _related(model):
            there = field.related_model
            if isinstance(there, type) and issubclass(there, Model) and contexts.of_model(there) == context:
                name = field.get_accessor_name() if field.auto_created and not field.concrete else field.name
                if name and not name.endswith("+"):
                    found[name] = there._meta.label
    return found


def _related(model: type[Model]) -> Iterable[Any]:
    return (field for field in model._meta.get_fields() if field.is_relation and field.related_model is not None)


def _instead(context: str, *, writes: bool) -> tuple[str, ...]:
    reads = set(reads_of(context))
    return tuple(name for name in offered_by(context) if (name in reads) is not writes)


def render_call_sites(context: str, found: list[CallSite], form: str) -> str:
    """As text, or as JSON for every other format."""
    if form != "text":
        return json.dumps({"context": context, "sites": [asdict(each) for each in found]}, indent=1) + "\n"
    certain = sum(each.kind in (QUERY, RAW) for each in found)
    lines = [f"{len(found)} places outside {context!r} use its rows, {certain} for certain and the others by name:"]
    for file in dict.fromkeys(each.place.file for each in found):
        lines += ["", file]
        for each in found:
            if each.place.file == file:
                does = "write" if each.writes else "read"
                lines.append(f"  {each.place.line:>5}  {each.kind:8} {does:5} {each.what}: {each.code}")
    lines += ["", *_remedies(context, found)]
    return "\n".join(lines) + "\n"


def _remedies(context: str, found: list[CallSite]) -> Iterator[str]:
    if not offered_by(context):
        yield f"no seam is declared for {context!r}: declare one with a call for each (docs/how-to/cut-a-seam.md)"
        return
    for writes in (False, True):
        if any(each.writes is writes for each in found):
            calls = ", ".join(f"seam({context!r}).{name}" for name in _instead(context, writes=writes))
            yield f"{'write' if writes else 'read'} by {calls or 'a call that the seam does not offer yet: declare it'}"
