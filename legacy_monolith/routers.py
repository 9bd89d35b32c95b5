"""Keeps the monolith's schema migrations out of every database but its own."""

from __future__ import annotations

from typing import Any


class DefaultOnly:
    """Allow schema migrations on the default database only; say nothing about reads and writes."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return None if db == "default" else False
