"""After the cutover the monolith's tables are a copy: an ORM query on them raises, with the call to use instead."""

import re
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from migration_tools.conf import settings
from migration_tools.errors import ExtractedModelQueried
from migration_tools.playbook.paths import source_model
from migration_tools.playbook.registry import load
from migration_tools.seams.purpose import on_purpose
from migration_tools.seams.seam import offered_by
from migration_tools.state.journal import phase_of
from migration_tools.state.kept import is_kept
from migration_tools.state.models import Context
from migration_tools.state.phase import ORDER, Phase

FRESH_SECONDS = 1.0


class ExtractedGuard:
    """On every connection of the process; Django quotes each table it names, which is how a query is known by its text.

    Phases are read at most once a second, and none is before `migrate` has made their table: it sends statements too.
    The service's own database is not guarded. Raw SQL that names a table without quotes passes: the fence refuses its
    writes, and the analysis finds its reads (SFA111).
    """

    def __init__(self) -> None:
        self._gone: frozenset[str] = frozenset()
        self._read_at = 0.0
        self._phases_kept = False

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        """Refuse a statement that names an extracted model's table.

        Raises:
            ExtractedModelQueried: it does, and nobody allowed it.
        """
        if isinstance(sql, str) and not on_purpose():
            for quoted in self._pattern.findall(sql):
                name, label, target = self._tables[quoted.strip('"')]
                if context["connection"].alias != target and name in self._extracted():
                    raise ExtractedModelQueried(_message(name, label))
        return execute(sql, params, many, context)

    @cached_property
    def _tables(self) -> dict[str, tuple[str, str, str]]:
        """Table → context, model and the service's alias, of all playbooks; read at the first statement."""
        return {
            model._meta.db_table: (context, model._meta.label, playbook.target)
            for context, playbook in load().items()
            for model in (source_model(projection.model) for projection in playbook.projections)
        }

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(f'"{re.escape(table)}"' for table in self._tables) or r"(?!)")

    def _extracted(self) -> frozenset[str]:
        now = time.monotonic()
        if now - self._read_at > FRESH_SECONDS or not self._read_at:
            self._read_at = now  # first, since reading the phase is a query too
            self._phases_kept = self._phases_kept or _phases_are_kept()
            contexts = {name for name, *_ in self._tables.values()} if self._phases_kept else set()
            self._gone = frozenset(name for name in contexts if _is_extracted(name))
        return self._gone

    def install(self) -> None:
        """Guard the connections that there are in this thread, and every one that is made from now on."""
        connection_created.connect(self._created, weak=False, dispatch_uid=id(self))
        for connection in connections.all(initialized_only=True):
            self._wrap(connection)

    def uninstall(self) -> None:
        """Leave every connection that this thread can reach."""
        connection_created.disconnect(dispatch_uid=id(self))
        for connection in connections.all(initialized_only=True):
            if self in connection.execute_wrappers:
                connection.execute_wrappers.remove(self)

    def _created(self, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
        self._wrap(connection)

    def _wrap(self, connection: BaseDatabaseWrapper) -> None:
        if self not in connection.execute_wrappers:
            connection.execute_wrappers.append(self)


def _phases_are_kept() -> bool:
    """Whether there is a table of phases: not while a new database is migrated, nor in a service's."""
    return Context._meta.db_table in connections[settings().DATABASE].introspection.table_names()


def _is_extracted(context: str) -> bool:
    """Past the cutover, unless its old tables stay as copies, which the monolith goes on joining."""
    return ORDER.index(phase_of(context)) >= ORDER.index(Phase.CUTOVER) and not is_kept(context)


def _message(context: str, label: str) -> str:
    calls = [f"seam({context!r}).{name}()" for name in offered_by(context)]
    instead = (
        f"call {', '.join(calls[:-1])}{' or ' if calls[1:] else ''}{calls[-1]}"
        if calls
        else f"declare a seam for {context!r} and call it"
    )
    return f"{label} belongs to the service since the cutover of {context!r}, and the tables here are a copy; {instead}"
