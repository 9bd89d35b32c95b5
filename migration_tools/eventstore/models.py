"""The tables of the event store: events that nothing changes, and snapshots that anybody may drop."""

from django.db import models

from migration_tools.messaging.fields import ClockTimestamp


class StoredEvent(models.Model):
    """One event of one aggregate; the key makes two writers of the same version one winner and one loser.

    The database refuses UPDATE, DELETE and TRUNCATE (see the schema migration), whoever asks.
    """

    pk = models.CompositePrimaryKey("aggregate_id", "version")
    aggregate_id = models.UUIDField()
    version = models.BigIntegerField()
    aggregate_type = models.TextField()
    event_type = models.TextField()
    event_version = models.IntegerField()
    state = models.JSONField()
    correlation_id = models.TextField(null=True)
    causation_id = models.TextField(null=True)
    metadata = models.JSONField()
    recorded_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_event"


class StoredSnapshot(models.Model):
    """An aggregate as it was at a version: never needed, only quicker.

    The newest one of an aggregate is the last of its key, so a second index on (aggregate_id, version DESC) would be
    the key once more: PostgreSQL reads an index backwards as well.
    """

    pk = models.CompositePrimaryKey("aggregate_id", "version")
    aggregate_id = models.UUIDField()
    version = models.BigIntegerField()
    aggregate_type = models.TextField()
    snapshot_version = models.IntegerField()
    state = models.JSONField()
    created_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_snapshot"
