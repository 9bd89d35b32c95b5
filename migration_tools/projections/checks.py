"""System checks of read models: their declarations, and whether their tables are those that they declare."""

from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.db import DatabaseError

from migration_tools.conf import settings
from migration_tools.projections.registry import read_models
from migration_tools.projections.screens import find_differences
from migration_tools.projections.validation import find_mistakes


@checks.register("strangle")
def check_read_models(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """E090: a read model's declaration has mistakes; every one is reported."""
    return [
        checks.Error(text, hint=f"correct the read model {model.name!r}", id="strangle.E090", obj=type(model))
        for model in read_models()
        for text in find_mistakes(model)
    ]


@checks.register("strangle")
def check_screens(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """E092: a serializer that shows a view has other fields than the view has columns."""
    return [
        checks.Error(
            text,
            hint="change the serializer, or the table and then strangle_rebuild",
            id="strangle.E092",
            obj=serializer,
        )
        for serializer, text in find_differences()
    ]


@checks.register(checks.Tags.database)
def check_read_tables(
    app_configs: Sequence[Any] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """W091: what is live was built by another declaration (run with `check --database default`)."""
    alias = settings().DATABASE
    if not databases or alias not in databases:
        return []
    from django.db import connections

    try:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT model, fingerprint FROM strangle_read_slot WHERE state = 'live'")
            live = dict(cursor.fetchall())
    except DatabaseError:
        return []
    return [
        checks.Warning(
            f"the tables of read model {model.name!r} were built by another declaration or version of it",
            hint=f"python manage.py strangle_rebuild {model.name}",
            id="strangle.W091",
            obj=type(model),
        )
        for model in read_models()
        if model.name in live and live[model.name] != model.fingerprint()
    ]
