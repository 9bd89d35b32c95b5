"""Every statement that Django sends, seen by `execute_wrapper` with who sends it and the transaction it is in."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from django.core.signals import request_started
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from migration_tools.analysis.context_map import ContextMap
from migration_tools.analysis.frames import Frame, frames_of, innermost
from migration_tools.analysis.statements import Statement, is_control, parse, shape_of

IDLE = 0  # of libpq's transaction status, alike in psycopg 2 and 3


@dataclass(eq=False)
class Scope:
    """One request, or one test: what happens within it may be counted together."""

    name: str


@dataclass(eq=False)
class Unit:
    """One transaction of the monolith's, as production would have it: a test's wrapping one does not count."""

    writes: dict[str, set[str]] = field(default_factory=dict)
    entry: tuple[Frame, ...] | None = None
    noted: Any = None


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One statement about to be sent."""

    alias: str
    shape: str
    statement: Statement
    frames: tuple[Frame, ...]
    scope: Scope
    unit: Unit

    @property
    def site(self) -> Frame | None:
        """The nearest frame of a context's code."""
        return innermost(self.frames)


Listener = Callable[[Observation], None]

_scope: ContextVar[Scope | None] = ContextVar("strangle_analysis_scope", default=None)
_state = threading.local()


class Observer:
    """Listens on every connection of this process while it is installed; listeners may raise to refuse a statement."""

    def __init__(self, contexts: ContextMap, listeners: Sequence[Listener]):
        self.contexts = contexts
        self.listeners = tuple(listeners)

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        """Tell the listeners, then run the statement."""
        text = sql if isinstance(sql, str) else _as_text(sql, context)
        unit = _unit_of(context["connection"])
        if text and not is_control(text) and not getattr(_state, "busy", False):
            _state.busy = True
            try:
                self._tell(text, context["connection"].alias, unit)
            finally:
                _state.busy = False
        return execute(sql, params, many, context)

    def _tell(self, text: str, alias: str, unit: Unit) -> None:
        shape = _shape(text)
        statement = parse(shape)
        if not any(self.contexts.of_table(table) for table in statement.tables):
            return
        seen = Observation(
            alias=alias,
            shape=shape,
            statement=statement,
            frames=frames_of(self.contexts),
            scope=_scope.get() or Scope("process"),
            unit=unit,
        )
        for listener in self.listeners:
            listener(seen)

    def install(self) -> None:
        """Wrap the connections that there are in this thread, and every one that is made from now on.

        Those that another thread has had before are wrapped when it begins a request: an asynchronous site loads its
        middleware in its loop's thread, and runs its views in another.
        """
        connection_created.connect(self._created, weak=False, dispatch_uid=id(self))
        request_started.connect(self._adopt, weak=False, dispatch_uid=id(self))
        self._adopt()

    def uninstall(self) -> None:
        """Leave every connection that this thread can reach."""
        connection_created.disconnect(self._created, dispatch_uid=id(self))
        request_started.disconnect(self._adopt, dispatch_uid=id(self))
        for connection in connections.all(initialized_only=True):
            if self in connection.execute_wrappers:
                connection.execute_wrappers.remove(self)

    def _adopt(self, **kwargs: Any) -> None:
        for connection in connections.all(initialized_only=True):
            self._wrap(connection)

    def _created(self, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
        self._wrap(connection)

    def _wrap(self, connection: BaseDatabaseWrapper) -> None:
        if self not in connection.execute_wrappers:
            connection.execute_wrappers.append(self)


@contextmanager
def scope(name: str) -> Iterator[Scope]:
    """What runs in the block, in this task and what it awaits, belongs together."""
    made = Scope(name)
    token = _scope.set(made)
    try:
        yield made
    finally:
        _scope.reset(token)
        _forget()


def _forget() -> None:
    """Let go of this thread's transactions that are over, and so of the calls that they were made by."""
    held: dict[str, tuple[Any, Unit]] = _state.__dict__.get("units", {})
    for alias in [alias for alias in held if not connections[alias].in_atomic_block]:
        del held[alias]


def _unit_of(connection: BaseDatabaseWrapper) -> Unit:
    """The transaction that the next statement is in; a new one where none goes on."""
    key = _key_of(connection)
    held: dict[str, tuple[Any, Unit]] = _state.__dict__.setdefault("units", {})
    before = held.get(connection.alias)
    if before is not None and key is not None and before[0] == key:
        return before[1]
    made = Unit()
    if key is None:
        held.pop(connection.alias, None)
    else:
        held[connection.alias] = (key, made)
    return made


def _key_of(connection: BaseDatabaseWrapper) -> Any:
    """What stays the same within one transaction and differs between two; None outside of any.

    Django sends BEGIN past its wrappers, so a transaction's first statement is known by libpq's status. In a test's
    wrapping transaction the application's outermost `atomic` is a savepoint, whose name is used once.
    """
    blocks: Sequence[Any] = connection.atomic_blocks
    wrapping = sum(block._from_testcase for block in blocks)
    if len(blocks) == wrapping:
        return None
    if wrapping:
        return (len(blocks) > 0, connection.savepoint_ids[wrapping - 1])
    raw = connection.connection
    info = getattr(raw, "info", None)
    if info is not None and int(info.transaction_status) == IDLE:
        _state.__dict__["number"] = _state.__dict__.get("number", 0) + 1
    return _state.__dict__.get("number", 0)


@lru_cache(maxsize=20_000)
def _shape(text: str) -> str:
    return shape_of(text)


def _as_text(sql: Any, context: Any) -> str:
    """psycopg.sql's compositions, and bytes."""
    if isinstance(sql, bytes):
        return sql.decode(errors="replace")
    render = getattr(sql, "as_string", None)
    return str(render(context["connection"].connection)) if render else ""
