"""Who reads and writes one column: from the trace's statements and from the code, by context."""

import ast
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist

from migration_tools.analysis.code import modules
from migration_tools.analysis.context_map import ContextMap
from migration_tools.analysis.findings import Place
from migration_tools.analysis.locations import shown_path
from migration_tools.analysis.statements import parse
from migration_tools.analysis.trace import Trace
from migration_tools.errors import AnalysisError


@dataclass(frozen=True, kw_only=True)
class Use:
    """One place that uses the column. `how` is read, write or mention (a name in the code that may mean it)."""

    context: str
    how: str
    what: str
    place: Place
    count: int = 0


@dataclass(frozen=True, kw_only=True)
class Impact:
    """All uses of one column; `column` is table.column, `owner` its context."""

    field: str
    column: str
    owner: str
    uses: tuple[Use, ...]

    def foreign(self) -> list[Use]:
        """Those of other contexts."""
        return [use for use in self.uses if use.context != self.owner]


def impact_of(path: str, contexts: ContextMap, trace: Trace | None) -> Impact:
    """Find the uses of "app.Model.field".

    Raises:
        AnalysisError: there is no such field.
    """
    label, _, name = path.rpartition(".")
    try:
        model = apps.get_model(label)
        field: Any = model._meta.get_field(name)
    except (LookupError, ValueError, FieldDoesNotExist) as error:
        raise AnalysisError(f"--impact {path!r} names no field; write app_label.Model.field ({error})") from error
    if not getattr(field, "column", None):
        raise AnalysisError(f"--impact {path!r} has no column of its own")
    table = model._meta.db_table
    uses = [*_traced(table, field.column, trace), *mentions(model.__name__, field, contexts)]
    return Impact(
        field=path,
        column=f"{table}.{field.column}",
        owner=contexts.of_table(table) or "",
        uses=tuple(sorted(uses, key=lambda use: (use.context, use.how, use.place.file, use.place.line))),
    )


def _traced(table: str, column: str, trace: Trace | None) -> Iterator[Use]:
    for sent in (trace.sent if trace is not None else {}).values():
        statement = parse(sent.shape)
        for how, columns in (("write", statement.columns_written), ("read", statement.columns_read)):
            if (table, column) in columns:
                yield Use(
                    context=sent.context or "(no context)",
                    how=how,
                    what=sent.function,
                    place=sent.place,
                    count=sent.count,
                )


def mentions(model: str, field: Any, contexts: ContextMap) -> Iterator[Use]:
    """Lookups (`order__status=`), attributes and raw SQL that name the field, where the module names the model too.

    Of another context's modules only lookups through a relation need no such name.
    """
    for module, path in modules(contexts):
        here = contexts.of_module(module)
        if here is None:
            continue
        text = path.read_text()
        if field.name not in text and field.column not in text:
            continue
        table = field.model._meta.db_table
        for line in sorted(_lines(text, field, knows=model in text or table in text)):
            place = Place(file=shown_path(str(path)), line=line)
            yield Use(context=here, how="mention", what=module, place=place)


def _lines(text: str, field: Any, *, knows: bool) -> Iterator[int]:
    names, seen = {field.name, field.column}, set[int]()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.keyword(arg=str(arg)) if _means(arg, names, knows=knows):
                line = node.value.lineno
            case ast.Attribute(attr=attr) if knows and attr in names:
                line = node.lineno
            case ast.Constant(value=str(value)) if _spells(value, names, field.model._meta.db_table, knows=knows):
                line = node.lineno
            case _:
                continue
        if line not in seen:
            seen.add(line)
            yield line


def _means(lookup: str, names: set[str], *, knows: bool) -> bool:
    parts = lookup.split("__")
    return (knows and parts[0] in names) or bool(names & set(parts[1:]))


def _spells(value: str, names: set[str], table: str, *, knows: bool) -> bool:
    if table in value and any(name in value for name in names):
        return True
    return (knows and value in names) or ("__" in value and bool(names & set(value.split("__")[1:])))


def render_impact(found: Impact, form: str) -> str:
    """As text, or as JSON for every other format."""
    if form != "text":
        return json.dumps({**asdict(found), "foreign": len(found.foreign())}, ensure_ascii=False, indent=1) + "\n"
    lines = [f"{found.field} ({found.column}) belongs to {found.owner}"]
    for context in dict.fromkeys(use.context for use in found.uses):
        lines += ["", f"{context}{'' if context == found.owner else '  (another context)'}"]
        for use in found.uses:
            if use.context == context:
                times = f", {use.count} times" if use.count else ""
                lines.append(f"  {use.how:8}{use.place}  {use.what}{times}")
    return "\n".join(lines) + "\n"
