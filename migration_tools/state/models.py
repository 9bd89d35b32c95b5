"""The tables of state: phases, journal, verifications; what was observed of contexts and asked for in the console."""

from django.db import models

from migration_tools.messaging.fields import ClockTimestamp
from migration_tools.state.phase import Phase


class Context(models.Model):
    """Where a context stands, and the move under way if one was begun and not ended."""

    name = models.TextField(primary_key=True)
    phase = models.CharField(
        max_length=16, choices=[(p.value, p.value) for p in Phase], default=Phase.MONOLITH_ONLY.value
    )
    since = models.DateTimeField(db_default=ClockTimestamp())
    move = models.TextField(null=True)
    move_started_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "strangle_context"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(phase__in=[p.value for p in Phase]), name="strangle_context_phase"
            )
        ]


class JournalEntry(models.Model):
    """What was done to a context: who, when, why, with what evidence. Append-only."""

    id = models.BigAutoField(primary_key=True)
    context = models.TextField()
    move = models.TextField()
    step = models.TextField()
    actor = models.TextField()
    reason = models.TextField(default="", blank=True)
    evidence = models.JSONField(default=dict)
    at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_journal"
        indexes = [models.Index(fields=["context", "id"], name="strangle_journal_context")]


class Verification(models.Model):
    """One comparison of a context's two sides, in one direction, at one instant of the stream."""

    id = models.BigAutoField(primary_key=True)
    context = models.TextField()
    direction = models.CharField(max_length=8)
    rows = models.BigIntegerField()
    differences = models.BigIntegerField()
    report = models.JSONField(default=dict)
    at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_verification"
        indexes = [models.Index(fields=["context", "id"], name="strangle_verification_context")]


class VerificationRun(models.Model):
    """A verification under way, at most one a context; gone when it is complete."""

    context = models.TextField(unique=True)
    direction = models.CharField(max_length=8)
    declaration = models.TextField()
    began_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_verification_run"


class VerifiedRange(models.Model):
    """One key range of a run, compared at its own instant; `upto` is NULL for the last of its table.

    `result` is the redacted JSON form of what was found: values of rows stay out of this table.
    """

    run = models.ForeignKey(VerificationRun, on_delete=models.CASCADE)
    way = models.CharField(max_length=8)
    table = models.TextField()
    number = models.IntegerField()
    upto = models.JSONField(null=True)
    position = models.BigIntegerField()
    result = models.JSONField()
    at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_verified_range"
        constraints = [
            models.UniqueConstraint(fields=["run", "way", "table", "number"], name="strangle_verified_range_once")
        ]


class BackfillControl(models.Model):
    """What operators wish of a context's copy, and why it waits now if it does; read before every chunk."""

    context = models.TextField(primary_key=True)
    wish = models.CharField(max_length=8, default="run")
    reason = models.TextField(default="", blank=True)
    actor = models.TextField(default="", blank=True)
    holding = models.TextField(default="", blank=True)
    at = models.DateTimeField(db_default=ClockTimestamp())
    heard_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_backfill_control"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(wish__in=["run", "pause", "cancel"]), name="strangle_backfill_control_wish"
            )
        ]


class Observation(models.Model):
    """What an operator's process last saw of a context, whole, for readers that may not see both sides."""

    context = models.TextField(primary_key=True)
    document = models.JSONField()
    at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_observation"


class Sample(models.Model):
    """A few figures of an observation, for curves and rates; of those older than an hour one for each hour."""

    id = models.BigAutoField(primary_key=True)
    context = models.TextField()
    figures = models.JSONField()
    at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_sample"
        indexes = [models.Index(fields=["context", "at"], name="strangle_sample_context")]


class RequestState(models.TextChoices):
    """Where a requested command stands; written by the runner alone after the request was made."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    LOST = "lost"


class Request(models.Model):
    """A command that somebody asked for in the console; `ticket` is signed, and alone what the runner believes."""

    id = models.BigAutoField(primary_key=True)
    context = models.TextField()
    ticket = models.TextField()
    nonce = models.TextField(unique=True)
    title = models.TextField()
    actor = models.TextField()
    state = models.CharField(max_length=8, choices=RequestState.choices, default=RequestState.WAITING)
    exit_code = models.IntegerField(null=True)
    output = models.TextField(default="", blank=True)
    result = models.JSONField(null=True)
    made_at = models.DateTimeField(db_default=ClockTimestamp())
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "strangle_request"
        indexes = [models.Index(fields=["context", "id"], name="strangle_request_context")]
        permissions = [("move_context", "May ask for moves of contexts in the console")]


class Runner(models.Model):
    """When the process that carries out requests and observes was last heard of; one row."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    actor = models.TextField(default="", blank=True)
    seen_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_runner"
