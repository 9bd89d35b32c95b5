"""Signals and admin pages that reach into another context, read from what is registered in this process."""

import ast
import inspect
import sys
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from django.apps import apps
from django.db.models import Model, signals
from django.db.models.constants import LOOKUP_SEP
from django.db.models.fields.reverse_related import ForeignObjectRel
from django.dispatch import Signal

from migration_tools.analysis.code import modules
from migration_tools.analysis.context_map import ContextMap
from migration_tools.analysis.findings import Finding
from migration_tools.analysis.locations import place_of

SIGNALS = ("pre_init", "post_init", "pre_save", "post_save", "pre_delete", "post_delete", "m2m_changed")
ANY = id(None)  # how Django keeps "of whatever sender"
PATHS = ("list_display", "list_filter", "search_fields", "list_select_related", "ordering")
KEYS = ("raw_id_fields", "autocomplete_fields", "filter_horizontal", "filter_vertical")


def find_signals(contexts: ContextMap) -> Iterator[Finding]:
    """SFA108: code of one context runs inside another's, most of all inside the transaction of its write."""
    yield from _of_models(contexts)
    for here, name, signal in own_signals(contexts):
        for _, function in receivers_of(signal):
            yield from _heard(function, name, here, contexts, what=f"every {name}", signal=name)


def _of_models(contexts: ContextMap) -> Iterator[Finding]:
    models = {id(model): model for model in apps.get_models(include_auto_created=True)}
    for name in SIGNALS:
        for sender, function in receivers_of(getattr(signals, name)):
            model = models.get(sender)
            if model is not None:
                there, table = contexts.of_model(model), model._meta.db_table
                what = f"every {name} of {model._meta.label}"
                yield from _heard(function, name, there, contexts, what=what, signal=name, tables=(table,))
            elif sender == ANY:
                for context in contexts.candidates:
                    what = f"every {name} of any model, those of {context.name!r} too"
                    yield from _heard(function, name, context.name, contexts, what=what, signal=f"any {name}")


def receivers_of(signal: Signal) -> Iterator[tuple[int, Any]]:
    """(id of the sender that it is bound to, function) of each receiver that still lives; without a sender, `ANY`."""
    for (_, sender), receiver, *_ in signal.receivers:
        function = receiver() if isinstance(receiver, weakref.ReferenceType) else receiver
        while isinstance(function, partial):
            function = function.func
        if function is not None:
            yield sender, function


def own_signals(contexts: ContextMap) -> Iterator[tuple[str, str, Signal]]:
    """(context, name, signal) of every signal that loaded code of a context defines; what it imports is another's."""
    inner: list[tuple[str, str, Signal]] = []
    told = set()
    for name, path in modules(contexts):
        here = contexts.of_module(name)
        held = vars(sys.modules[name]) if name in sys.modules else {}
        if here is None:
            continue
        signals = {key: each for key, each in held.items() if isinstance(each, Signal)}
        for key in sorted(signals.keys() & (set(_called(path)) if signals else set())):
            told.add(id(signals[key]))
            yield here, f"{name}.{key}", signals[key]
        for each in [each for each in held.values() if isinstance(each, type) and each.__module__ == name]:
            found = {key: value for key, value in vars(each).items() if isinstance(value, Signal)}
            inner += [(here, f"{name}.{each.__qualname__}.{key}", value) for key, value in found.items()]
    # A class may have its own, or another name for one of a module.
    yield from (each for each in inner if id(each[2]) not in told)


def _called(path: Path) -> Iterator[str]:
    """The names that a module gives to what a call returns."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def _heard(
    function: Any, name: str, there: str | None, contexts: ContextMap, *, what: str, signal: str, tables: Any = ()
) -> Iterator[Finding]:
    """The finding, if the receiver is another context's code."""
    module = getattr(function, "__module__", "")
    called = getattr(function, "__qualname__", type(function).__qualname__)
    here = contexts.of_module(module)
    if here is None or there is None or here == there or (contexts.is_framework(here) and not tables):
        return
    yield Finding(
        rule="SFA108",
        source=here,
        target=there,
        message=f"{module}.{called} runs at {what}",
        place=place_of(inspect.unwrap(function) if inspect.isroutine(function) else type(function)),
        tables=tables,
        detail={"signal": signal, "key": f"{name}:{called}"},
    )


def find_admin(contexts: ContextMap) -> Iterator[Finding]:
    """SFA109: an admin page shows, searches or edits another context's rows."""
    if not apps.is_installed("django.contrib.admin"):
        return
    from django.contrib.admin.sites import all_sites

    pages = [(model, page) for site in all_sites for model, page in site._registry.items()]
    for model, page in sorted(pages, key=lambda each: (each[0]._meta.label, type(each[1]).__qualname__)):
        here = contexts.of_model(model)
        if here is None:
            continue
        seen: dict[str, str] = {}
        for inline in page.inlines:
            there = contexts.of_model(inline.model)
            if there is not None and there != here:
                seen.setdefault(there, f"has {inline.model._meta.label} inline")
        for option in (*PATHS, *KEYS):
            for path in _paths(getattr(page, option, ()) or ()):
                for there in _contexts_on(path, model, contexts, keys=option in KEYS):
                    if there != here:
                        seen.setdefault(there, f"follows {path!r} in {option}")
        for there, what in seen.items():
            yield Finding(
                rule="SFA109",
                source=here,
                target=there,
                message=f"the admin page of {model._meta.label} {what}",
                place=place_of(type(page)),
                tables=(model._meta.db_table,),
                detail={"key": model._meta.label},
            )


def _paths(given: Any) -> Iterator[str]:
    if isinstance(given, bool):
        return
    for each in given:
        first = each[0] if isinstance(each, tuple | list) and each else each
        if isinstance(first, str):
            yield first.lstrip("^=@-")


def _contexts_on(path: str, model: type[Model], contexts: ContextMap, *, keys: bool) -> Iterator[str]:
    """The contexts whose tables a path reads: the target of a bare foreign key only where its row is shown."""
    at: Any = model
    parts = path.split(LOOKUP_SEP)
    for number, part in enumerate(parts):
        try:
            field = at._meta.get_field(part)
        except Exception:  # a method, an annotation or a lookup
            return
        other = field.related_model if field.is_relation and part == field.name else None
        if other is None or isinstance(other, str):
            return
        last = number == len(parts) - 1
        there = contexts.of_model(other)
        if there is not None and (not last or keys or not isinstance(field, ForeignObjectRel)):
            yield there
        at = other
