"""A second deployment of the monolith's own code, whose queries of a context go to the service's database.

It is the shortest way for code that nobody will rewrite: the proxy sends the context's pages to that deployment, and
the ORM does the rest. The service's tables must be called as the monolith's are, with the same columns (`strangle_init
--keep-names`). A page that writes the context and the monolith's other tables commits in two databases, one after the
other: what a crash in between leaves is told by nobody but an audit, so cut a saga where that must not be.
"""

from functools import cache
from typing import Any

from django.db.models import Model

from migration_tools.conf import settings
from migration_tools.errors import SeamError
from migration_tools.playbook.paths import source_model
from migration_tools.playbook.registry import get


class OwnCodeRouter:
    """In DATABASE_ROUTERS of that deployment, whose SIDE is the context: its models live in the playbook's target."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        """The target of a model that moved; the source of what a row of such a model leads to; else nothing."""
        return _home(model) or _stayed(hints)

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        """The same: a write must not part from its reads."""
        return _home(model) or _stayed(hints)

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool | None:
        """Keys across the cut are plain columns there, and may be assigned as before."""
        return True if (_home(one.__class__) is None) is not (_home(other.__class__) is None) else None

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        """The service migrates its own database."""
        return False if db == get(settings().SIDE).target else None


def _home(model: type[Model]) -> str | None:
    playbook: Any = get(settings().SIDE)
    return playbook.target if model._meta.concrete_model in moved(playbook) else None


def _stayed(hints: dict[str, Any]) -> str | None:
    """Django looks for what a row leads to in the row's own database, where nothing routes it."""
    playbook = get(settings().SIDE)
    instance = hints.get("instance")
    return playbook.source if instance is not None and instance._state.db == playbook.target else None


@cache
def moved(playbook: Any) -> frozenset[type[Model]]:
    """The models whose rows live in the service, by a class of Playbook.

    Raises:
        SeamError: the service's tables are not the monolith's by name and columns; the message has each mistake.
    """
    found, mistakes = set(), []
    for projection in playbook.projections:
        model = source_model(projection.model)
        columns = {str(field.column) for field in model._meta.local_concrete_fields}
        if projection.into != model._meta.db_table:
            mistakes.append(f"{projection.model} is in {projection.into!r} there, not in {model._meta.db_table!r}")
        elif missing := columns - set(projection.columns) - set(projection.key):
            mistakes.append(f"{projection.into!r} has no columns {sorted(missing)} there")
        found.add(model)
    if mistakes:
        raise SeamError(
            f"the monolith's own code cannot run on the tables of {playbook.context!r}: {'; '.join(mistakes)}. Write "
            f"the playbook by strangle_init {playbook.context} --keep-names"
        )
    return frozenset(found)
