"""The tables of read models: their slots, what they applied lately, and state events under way."""

from django.db import models

from migration_tools.messaging.fields import ClockTimestamp


class ReadSlot(models.Model):
    """A numbered set of a read model's tables: the live one, or one that is being built. See projections.slots."""

    pk = models.CompositePrimaryKey("model", "slot")
    model = models.TextField()
    slot = models.IntegerField()
    state = models.CharField(max_length=8)
    fingerprint = models.TextField()
    version = models.IntegerField()
    held = models.JSONField()
    origins = models.JSONField()
    after = models.JSONField()
    complete = models.JSONField()
    made_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_read_slot"
        constraints = [
            models.UniqueConstraint(
                fields=["model", "state"],
                condition=models.Q(state__in=["live", "building"]),
                name="strangle_read_slot_one_of_each",
            ),
        ]


class ReadToken(models.Model):
    """A correlation of which a group has applied an event; kept for minutes. See projections.tokens."""

    pk = models.CompositePrimaryKey("of_group", "correlation_id")
    of_group = models.TextField()
    correlation_id = models.TextField()
    at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_read_token"
        indexes = [models.Index(fields=["of_group", "at"], name="strangle_read_token_age")]


class StateRun(models.Model):
    """One publication of an aggregate type's state as events: how far it is. See projections.state_events."""

    run = models.UUIDField(primary_key=True)
    stream = models.TextField()
    event_type = models.TextField()
    head = models.BigIntegerField()
    after = models.TextField(null=True)
    rows = models.BigIntegerField(default=0)
    done = models.BooleanField(default=False)
    began_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_state_run"
