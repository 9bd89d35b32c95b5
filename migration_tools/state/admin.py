"""Contexts, journal, verifications and requests in Django's admin, read-only."""

from django.contrib import admin

from migration_tools.messaging.read_only import ReadOnlyAdmin
from migration_tools.state.models import (
    BackfillControl,
    Context,
    JournalEntry,
    Request,
    Verification,
    VerificationRun,
    VerifiedRange,
)


@admin.register(Context)
class ContextAdmin(ReadOnlyAdmin):
    """Where each context stands."""

    list_display = ("name", "phase", "since", "move", "move_started_at")


@admin.register(JournalEntry)
class JournalEntryAdmin(ReadOnlyAdmin):
    """Who did what, when, why, with what evidence."""

    list_display = ("at", "context", "move", "step", "actor", "reason")
    list_filter = ("context", "step")
    search_fields = ("actor", "reason")
    ordering = ("-id",)


@admin.register(Verification)
class VerificationAdmin(ReadOnlyAdmin):
    """Comparisons, with their redacted reports."""

    list_display = ("at", "context", "direction", "rows", "differences")
    list_filter = ("context", "direction")
    ordering = ("-id",)


@admin.register(VerificationRun)
class VerificationRunAdmin(ReadOnlyAdmin):
    """Comparisons under way."""

    list_display = ("context", "direction", "began_at")


@admin.register(VerifiedRange)
class VerifiedRangeAdmin(ReadOnlyAdmin):
    """The checkpoints of a comparison under way, with what was found in each, redacted."""

    list_display = ("run_id", "way", "table", "number", "upto", "at")
    list_filter = ("table",)
    ordering = ("-id",)


@admin.register(BackfillControl)
class BackfillControlAdmin(ReadOnlyAdmin):
    """What operators wish of a copy, and why it waits."""

    list_display = ("context", "wish", "reason", "actor", "holding", "at")


@admin.register(Request)
class RequestAdmin(ReadOnlyAdmin):
    """What was asked for in the console, without its ticket."""

    concealed = ("ticket", "nonce")
    list_display = ("id", "context", "title", "actor", "state", "exit_code", "made_at")
    list_filter = ("context", "state")
    ordering = ("-id",)
