"""The tables of messaging: outbox, ticks, stream, consumers; inbox, copied ranges, dead letters and their log."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import RandomUUID
from django.db import models

from migration_tools.messaging.fields import ClockTimestamp, CurrentXactId, SnapshotField, Xid8Field


class OutboxKind(models.TextChoices):
    """What an outbox row is: written by triggers, except events."""

    TOUCH = "t", "rows of a captured table changed"
    ECHO = "x", "rows were applied from the other side; only denormalised columns may need to go back"
    EVENT = "e", "a domain event"


class RecordKind(models.TextChoices):
    """What a stream record is."""

    ROW = "r", "a mapped row as it is now"
    PATCH = "p", "the denormalised columns of a mapped row"
    GONE = "g", "a mapped row that is no more"
    EVENT = "e", "a domain event"


class Outbox(models.Model):
    """One captured statement or published event, written in the transaction that made it."""

    seq = models.BigAutoField(primary_key=True)
    xid = Xid8Field(db_default=CurrentXactId())
    stream = models.TextField()
    kind = models.CharField(max_length=1, choices=OutboxKind.choices)
    table_name = models.TextField(null=True)
    touched = models.JSONField(null=True)
    event_id = models.UUIDField(null=True)
    event_type = models.TextField(null=True)
    event_version = models.IntegerField(null=True)
    aggregate_type = models.TextField(null=True)
    aggregate_id = models.TextField(null=True)
    payload = models.JSONField(null=True)
    correlation_id = models.TextField(null=True)
    causation_id = models.TextField(null=True)
    metadata = models.JSONField(null=True)
    occurred_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_outbox"
        indexes = [models.Index(fields=["stream", "xid"], name="strangle_outbox_ticks")]


class Tick(models.Model):
    """One reading of the outbox: the rows visible in `snapshot` and not in the tick before.

    See `messaging.ticks`; `base` is the stream's last position before it, `records` how many it added.
    """

    pk = models.CompositePrimaryKey("stream", "number")
    stream = models.TextField()
    number = models.BigIntegerField()
    snapshot = SnapshotField()
    base = models.BigIntegerField()
    records = models.BigIntegerField()
    at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_tick"


class StreamRecord(models.Model):
    """One numbered fact of a stream: dense positions, fixed after commit, readable again by anyone."""

    pk = models.CompositePrimaryKey("stream", "position")
    stream = models.TextField()
    position = models.BigIntegerField()
    tick = models.BigIntegerField()
    kind = models.CharField(max_length=1, choices=RecordKind.choices)
    relation = models.BigIntegerField(null=True)
    key = ArrayField(models.TextField(), null=True)
    values = ArrayField(models.TextField(null=True), null=True)
    event_id = models.UUIDField(null=True)
    event_type = models.TextField(null=True)
    event_version = models.IntegerField(null=True)
    aggregate_type = models.TextField(null=True)
    aggregate_id = models.TextField(null=True)
    payload = models.JSONField(null=True)
    correlation_id = models.TextField(null=True)
    causation_id = models.TextField(null=True)
    metadata = models.JSONField(null=True)
    occurred_at = models.DateTimeField()

    class Meta:
        db_table = "strangle_stream"
        indexes = [models.Index(fields=["stream", "tick"], name="strangle_stream_tick")]


class StreamIdentity(models.Model):
    """Which stream this is, whatever its name: drawn once, sent with every batch, remembered by the inbox."""

    stream = models.TextField(primary_key=True)
    identity = models.UUIDField(db_default=RandomUUID())
    made_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_stream_identity"


class Consumer(models.Model):
    """How far a consumer says it is, kept by the stream's owner for lag and retention."""

    pk = models.CompositePrimaryKey("stream", "name")
    stream = models.TextField()
    name = models.TextField()
    position = models.BigIntegerField()
    seen_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_consumer"


class TransportPosition(models.Model):
    """Up to where a stream's batches were confirmed by a broker; kept by the relay, a moment late."""

    pk = models.CompositePrimaryKey("stream", "transport")
    stream = models.TextField()
    transport = models.TextField()
    position = models.BigIntegerField()
    confirmed_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_transport"


class Inbox(models.Model):
    """What this side has applied of another side's stream; moves in the transaction of the effects.

    `stream` is the stream's name, for a named group of handlers with the group behind it (see messaging.groups).
    `mark` is what the record at `position` is known by; see messaging.batch, Note [marks].
    `standstill` is why its consumer cannot go on, empty while it can.
    Rows may run ahead of events (the operator applies rows up to an exact tick; handlers live in this side's own
    consumer), never behind: a handler finds the rows of its event in place.
    """

    stream = models.TextField(primary_key=True)
    identity = models.TextField(default="", db_default="")
    position = models.BigIntegerField(default=0)
    mark = models.TextField(default="", db_default="")
    rows_position = models.BigIntegerField(default=0)
    applied_records = models.BigIntegerField(default=0)
    lag_histogram = ArrayField(models.BigIntegerField(), default=list)
    standstill = models.TextField(default="", db_default="")
    applied_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_inbox"


class CopiedRange(models.Model):
    """How far a projection's history is copied, committed with the copied rows."""

    pk = models.CompositePrimaryKey("stream", "projection")
    stream = models.TextField()
    projection = models.TextField()
    declaration = models.TextField()
    upto = ArrayField(models.TextField(), null=True)
    rows = models.BigIntegerField(default=0)
    done = models.BooleanField(default=False)
    updated_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_copied_range"


class CopyLease(models.Model):
    """A piece of a chunk that another process copies; done is committed with its rows.

    Done without rows is a piece that met rows of another one and is to be done after it.
    """

    id = models.BigAutoField(primary_key=True)
    stream = models.TextField()
    epoch = models.BigIntegerField(default=1)
    projection = models.TextField()
    after = ArrayField(models.TextField(), null=True)
    upto = ArrayField(models.TextField(), null=True)
    position = models.BigIntegerField()
    snapshot = models.TextField()
    done = models.BooleanField(default=False)
    rows = models.BigIntegerField(null=True)
    bytes = models.BigIntegerField(default=0)
    failure = models.TextField(default="", blank=True)
    made_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_copy_lease"


class DeadLetter(models.Model):
    """An event that a handler could not take, or one parked behind it because it has the same key.

    `stream` is the inbox's; `reason` holds no data of the event, `detail` may; `attempts` is 0 for those behind it.
    """

    id = models.BigAutoField(primary_key=True)
    stream = models.TextField()
    position = models.BigIntegerField()
    aggregate_type = models.TextField()
    aggregate_id = models.TextField()
    envelope = models.JSONField()
    reason = models.TextField()
    detail = models.TextField(default="", db_default="")
    attempts = models.IntegerField(default=0, db_default=0)
    parked_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_dead_letter"
        constraints = [models.UniqueConstraint(fields=["stream", "position"], name="strangle_dead_letter_once")]
        indexes = [
            models.Index(
                fields=["stream", "aggregate_type", "aggregate_id", "position"], name="strangle_dead_letter_key"
            )
        ]


class DeadLetterLog(models.Model):
    """What became of an event that was parked: handled after all, or given up, by whom and why. Append-only."""

    id = models.BigAutoField(primary_key=True)
    stream = models.TextField()
    position = models.BigIntegerField()
    event_id = models.TextField()
    event_type = models.TextField()
    outcome = models.CharField(max_length=8)
    actor = models.TextField()
    reason = models.TextField(default="", db_default="")
    at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_dead_letter_log"
