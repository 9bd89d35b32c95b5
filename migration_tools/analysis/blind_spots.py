"""Calls that reach the database past Django's wrappers, found in a module's tree: no tracer sees what they send.

Note [by name]. A tree has no types. A cursor is known by where it comes from (`with connection.cursor() as c`), by its
name, or by an argument that is SQL; a driver by its import; everything else is not told.
"""

import ast
import re
from collections.abc import Iterator

COPIES = {"copy_expert", "copy_from", "copy_to"}
DRIVERS = {"psycopg", "psycopg2", "psycopg_pool", "asyncpg", "pg8000", "sqlalchemy"}
OPENS = re.compile(r"(connect|create_(async_)?engine|create_pool|\w*ConnectionPool)$")
_COPY = re.compile(r"\s*COPY\s", re.IGNORECASE)


def find_blind_spots(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, what it is) of each, in the order of lines, each line and kind once."""
    yield from sorted(set(_Names(tree).calls()))


class _Names:
    """What the names of one module stand for: modules and what is imported from them, cursors, connections."""

    def __init__(self, tree: ast.Module):
        self.tree = tree
        self.imported = dict(_imported(tree))
        self.cursors: set[str] = set()
        self.connections: set[str] = set()
        self.compared = {id(part) for node in ast.walk(tree) if isinstance(node, ast.Compare) for part in _parts(node)}
        for name, value in _bound(tree):
            if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "cursor":
                self.cursors.add(name)
            elif self._is_connection(value):
                self.connections.add(name)

    def calls(self) -> Iterator[tuple[int, str]]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute) and node.attr == "connection" and id(node) not in self.compared:
                if self._is_connection(node.value) or self._is_cursor(node.value):
                    yield node.lineno, "the driver's own connection, past Django"
            elif isinstance(node, ast.Call):
                yield from self._call(node)

    def _call(self, node: ast.Call) -> Iterator[tuple[int, str]]:
        called = self._dotted(node.func)
        if called.partition(".")[0] in DRIVERS and OPENS.search(called):
            yield node.lineno, f"a connection of its own ({called}), past Django"
        if not isinstance(node.func, ast.Attribute):
            return
        name, on = node.func.attr, node.func.value
        if name == "callproc":
            yield node.lineno, "a stored procedure"
        elif name in COPIES or (name == "copy" and self._copies(node, on)):
            yield node.lineno, "COPY through the driver"
        elif name == "stream" and self._is_cursor(on):
            yield node.lineno, "a stream of the driver"

    def _copies(self, node: ast.Call, on: ast.expr) -> bool:
        """Whether a `copy()` is a cursor's: a dict's has no argument, and a module's is not called on a cursor."""
        if not node.args or self._dotted(on):
            return False
        first = node.args[0]
        text = first.value if isinstance(first, ast.Constant) else ""
        return self._is_cursor(on) or (isinstance(text, str) and _COPY.match(text) is not None)

    def _is_cursor(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Call):
            return isinstance(node.func, ast.Attribute) and node.func.attr == "cursor"
        last = _last(node)
        return last in self.cursors or re.search(r"(^|_)cur(sor)?(_|$|\d)", last.lower()) is not None

    def _is_connection(self, node: ast.expr) -> bool:
        """Whether an expression is a connection of Django's."""
        if isinstance(node, ast.Subscript):
            return self._dotted(node.value) == "django.db.connections"
        dotted = self._dotted(node)
        return dotted == "django.db.connection" or _last(node) in {"connection", *self.connections}

    def _dotted(self, node: ast.expr) -> str:
        """The whole name of what an expression was imported as; empty for everything else."""
        if isinstance(node, ast.Name):
            return self.imported.get(node.id, "")
        if isinstance(node, ast.Attribute) and (before := self._dotted(node.value)):
            return f"{before}.{node.attr}"
        return ""


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (
                    alias.asname or alias.name.partition(".")[0],
                    alias.name if alias.asname else (alias.name.partition(".")[0]),
                )
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _bound(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Names and what is assigned to them, by `=` and by `with … as`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            yield from ((_last(target), node.value) for target in node.targets if _last(target))
        elif isinstance(node, ast.With | ast.AsyncWith):
            for item in node.items:
                if item.optional_vars is not None and _last(item.optional_vars):
                    yield _last(item.optional_vars), item.context_expr


def _last(node: ast.expr) -> str:
    """`cur` of `cur` and of `self.cur`."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _parts(node: ast.Compare) -> list[ast.expr]:
    return [node.left, *node.comparators]
