"""Who may query the tables that a context has left behind."""

from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_allowed: ContextVar[bool] = ContextVar("strangle_extracted_allowed", default=False)


def on_purpose() -> bool:
    """Whether this code runs within `old_tables_on_purpose`."""
    return _allowed.get()


@contextmanager
def old_tables_on_purpose() -> Any:
    """Queries on extracted models pass in the block: for a seam's local adapter in compare mode, and for archives."""
    token = _allowed.set(True)
    try:
        yield
    finally:
        _allowed.reset(token)
