"""A padded CHAR(n) column, as old schemas have them."""

from __future__ import annotations

from typing import Any

from django.db import models


class FixedCharField(models.CharField):
    """A CharField that PostgreSQL stores as char(n), blank-padded."""

    def db_type(self, connection: Any) -> str:
        return f"char({self.max_length})"
