"""Column types that Django has no field for: transaction ids and snapshots of PostgreSQL."""

from typing import Any

from django.db import models


class Xid8Field(models.Field):  # type: ignore[type-arg]
    """A 64-bit transaction id (xid8)."""

    def db_type(self, connection: Any) -> str:
        """The column type."""
        return "xid8"


class SnapshotField(models.Field):  # type: ignore[type-arg]
    """A transaction snapshot (pg_snapshot)."""

    def db_type(self, connection: Any) -> str:
        """The column type."""
        return "pg_snapshot"


class CurrentXactId(models.Func):
    """The id of the top-level transaction that writes the row."""

    function = "pg_current_xact_id"
    arity = 0
    output_field = Xid8Field()


class ClockTimestamp(models.Func):
    """Wall-clock time at the moment of evaluation, not of the transaction's start."""

    function = "clock_timestamp"
    arity = 0
    output_field = models.DateTimeField()
