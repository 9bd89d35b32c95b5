"""Outbox, inbox and parked events in Django's admin, with the pieces of copies; read-only.

Checkpoints of copies have composite keys, which Django's admin cannot show; docs/how-to/console.md says where they are.
"""

from django.contrib import admin

from migration_tools.messaging.models import CopyLease, DeadLetter, DeadLetterLog, Inbox, Outbox
from migration_tools.messaging.read_only import ReadOnlyAdmin


@admin.register(Outbox)
class OutboxAdmin(ReadOnlyAdmin):
    """What waits for a tick, and what was taken but not emptied yet."""

    concealed = ("touched", "payload", "metadata")
    list_display = ("seq", "stream", "kind", "table_name", "event_type", "correlation_id", "occurred_at")
    list_filter = ("stream", "kind")
    search_fields = ("=correlation_id",)
    ordering = ("-seq",)


@admin.register(Inbox)
class InboxAdmin(ReadOnlyAdmin):
    """How far this side has applied each stream, and why it stands still if it does."""

    list_display = ("stream", "position", "rows_position", "applied_records", "standstill", "applied_at")


@admin.register(CopyLease)
class CopyLeaseAdmin(ReadOnlyAdmin):
    """Pieces of a chunk that other processes copy into this database."""

    list_display = ("id", "stream", "projection", "after", "upto", "done", "rows", "failure", "made_at")
    list_filter = ("stream", "done")
    ordering = ("-id",)


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    """Parked events; strangle_dead_letters or the console handle them again."""

    concealed = ("envelope", "detail")
    list_display = ("stream", "position", "aggregate_type", "aggregate_id", "reason", "attempts", "parked_at")
    list_filter = ("stream",)
    ordering = ("stream", "position")


@admin.register(DeadLetterLog)
class DeadLetterLogAdmin(ReadOnlyAdmin):
    """What became of events that were parked."""

    list_display = ("stream", "position", "event_type", "outcome", "actor", "reason", "at")
    list_filter = ("stream", "outcome")
    ordering = ("-id",)
