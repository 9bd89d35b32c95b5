"""The tables of replication: versions of copied fields, polled documents, commands on their way out and taken in."""

from django.db import models
from django.db.models.functions import Now


class Copied(models.Model):
    """Which version each field of one copied entity has; `floor` is the newest deletion, below which nothing counts."""

    pk = models.CompositePrimaryKey("copy", "key")
    copy = models.TextField()
    key = models.TextField()
    fields = models.JSONField(default=dict)
    floor = models.BigIntegerField(default=-1)
    applied_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "strangle_copied"


class Poll(models.Model):
    """One address that is polled: its validators, when it last answered, and when it is asked next."""

    name = models.TextField(primary_key=True)
    etag = models.TextField(default="")
    last_modified = models.TextField(default="")
    cursor = models.TextField(default="")
    answered_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField(null=True)
    failures = models.IntegerField(default=0)
    next_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "strangle_poll"


class Polled(models.Model):
    """One document of a polled address."""

    pk = models.CompositePrimaryKey("poll", "key")
    poll = models.TextField()
    key = models.TextField()
    document = models.JSONField()

    class Meta:
        db_table = "strangle_polled"


class CommandState(models.TextChoices):
    """Where an outgoing command stands."""

    WAITING = "w", "to be sent, or sent again"
    DONE = "d", "the other side has taken it"
    DEAD = "x", "given up: refused, or tried too often"


class Command(models.Model):
    """One POST, PUT, PATCH or DELETE to another service, written in the transaction that wants it."""

    id = models.UUIDField(primary_key=True)
    service = models.TextField()
    method = models.TextField()
    path = models.TextField()
    body = models.JSONField(null=True)
    state = models.CharField(max_length=1, choices=CommandState.choices, default=CommandState.WAITING)
    attempts = models.IntegerField(default=0)
    next_at = models.DateTimeField(db_default=Now())
    status = models.IntegerField(null=True)
    answer = models.JSONField(null=True)
    error = models.TextField(default="")
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "strangle_command"
        indexes = [
            models.Index(
                fields=["next_at"], condition=models.Q(state=CommandState.WAITING), name="strangle_command_waiting"
            )
        ]


class TakenCommand(models.Model):
    """What this side answered to an Idempotency-Key; written in the transaction of the effect."""

    key = models.TextField(primary_key=True)
    fingerprint = models.TextField()
    status = models.IntegerField(null=True)
    content_type = models.TextField(default="")
    body = models.BinaryField(null=True)
    taken_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "strangle_command_taken"
