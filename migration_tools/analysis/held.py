"""What the names of a function hold: rows and query sets of one model, as far as the function alone tells."""

import ast
from collections.abc import Callable, Iterator

from django.db.models import Model

#: Calls that leave a query set one of the same rows.
NARROWS = {"all", "filter", "exclude", "order_by", "distinct", "using", "select_for_update", "select_related"}
# What comes out of a chain with one of these is no row and no query set of rows.
_NO_ROWS = {
    "values",
    "values_list",
    "count",
    "exists",
    "aggregate",
    "dates",
    "datetimes",
    "in_bulk",
    "explain",
    "query",
}
_GIVES_A_ROW = {"get_object_or_404", "aget_object_or_404"}
_GIVES_ROWS = {"get_list_or_404", "aget_list_or_404"}

ModelOf = Callable[[ast.expr], type[Model] | None]


def held(tree: ast.Module, named: ModelOf, chained: ModelOf) -> dict[tuple[int, str], type[Model]]:
    """(call, name) → model, of each name that holds rows of one model in the function around a call.

    A name that the function gives something else too is left out.

    Args:
        named: the model that an expression names.
        chained: the model at the root of a chain from its manager.
    """
    found: dict[tuple[int, str], type[Model]] = {}
    for scope in ast.walk(tree):
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
            names = _names(scope, named, chained)
            calls = [node for node in ast.walk(scope) if isinstance(node, ast.Call)] if names else []
            found |= {(id(call), name): model for call in calls for name, model in names.items()}
    return found


def _names(scope: ast.FunctionDef | ast.AsyncFunctionDef, named: ModelOf, chained: ModelOf) -> dict[str, type[Model]]:
    given: dict[str, list[type[Model] | None]] = {}
    for argument in (*scope.args.posonlyargs, *scope.args.args, *scope.args.kwonlyargs):
        given[argument.arg] = [named(argument.annotation) if argument.annotation is not None else None]
    for name, value in _assignments(scope):
        known = {each: models[0] for each, models in given.items() if len({*models}) == 1}
        given.setdefault(name, []).append(_given(value, known, named, chained))
    return {name: model for name, models in given.items() if len({*models}) == 1 and (model := models[0]) is not None}


def _assignments(scope: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(scope):
        match node:
            case ast.Assign(targets=targets, value=value):
                yield from ((each.id, value) for each in targets if isinstance(each, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value
            case ast.For(target=ast.Name(id=name), iter=value) | ast.AsyncFor(target=ast.Name(id=name), iter=value):
                yield name, value
            case ast.NamedExpr(target=ast.Name(id=name), value=value):
                yield name, value


def _given(
    value: ast.expr, known: dict[str, type[Model] | None], named: ModelOf, chained: ModelOf
) -> type[Model] | None:
    at = value.value if isinstance(value, ast.Await) else value
    if _NO_ROWS & {node.attr for node in ast.walk(at) if isinstance(node, ast.Attribute)}:
        return None
    match at:
        case ast.Name(id=name):
            return known.get(name)
        case ast.Call(func=ast.Name(id=called), args=[first, *_]) if called in _GIVES_A_ROW | _GIVES_ROWS:
            return named(first) or chained(first)
        case ast.Call(func=ast.Name() | ast.Attribute(value=ast.Name()) as made) if (model := named(made)) is not None:
            return model
        case ast.Call(func=ast.Attribute(attr=called, value=inner)) if called in NARROWS | {"get", "first", "last"}:
            return chained(at) or _given(inner, known, named, chained)
    return chained(at)
