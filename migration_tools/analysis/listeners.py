"""Signals and admin pages that reach into another context, read from what is registered in this process."""

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.db.models import Model, signals
from django.db.models.constants import LOOKUP_SEP
from django.db.models.fields.reverse_related import ForeignObjectRel

from migration_tools.analysis.context_map import ContextMap
from migration_tools.analysis.findings import Finding
from migration_tools.analysis.locations import place_of

SIGNALS = ("pre_init", "post_init", "pre_save", "post_save", "pre_delete", "post_delete", "m2m_changed")
PATHS = ("list_display", "list_filter", "search_fields", "list_select_related", "ordering")
KEYS = ("raw_id_fields", "autocomplete_fields", "filter_horizontal", "filter_vertical")


def find_signals(contexts: ContextMap) -> Iterator[Finding]:
    """SFA108: code of one context runs inside the transaction of another's write."""
    models = {id(model): model for model in apps.get_models(include_auto_created=True)}
    for name in SIGNALS:
        for (_, sender), receiver, *_ in getattr(signals, name).receivers:
            function = receiver() if type(receiver).__name__ in ("weakref", "ReferenceType", "WeakMethod") else receiver
            module = getattr(function, "__module__", "")
            here = contexts.of_module(module)
            model = models.get(sender)
            there = contexts.of_model(model) if model is not None else None
            if here is None or there is None or here == there:
                continue
            yield Finding(
                rule="SFA108",
                source=here,
                target=there,
                message=f"{module}.{function.__qualname__} runs at every {name} of {model._meta.label}",  # type: ignore[union-attr]
                place=place_of(function),
                tables=(model._meta.db_table,),  # type: ignore[union-attr]
                detail={"signal": name, "key": f"{name}:{function.__qualname__}"},
            )


def find_admin(contexts: ContextMap) -> Iterator[Finding]:
    """SFA109: an admin page shows, searches or edits another context's rows."""
    if not apps.is_installed("django.contrib.admin"):
        return
    from django.contrib import admin

    for model, page in admin.site._registry.items():
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
