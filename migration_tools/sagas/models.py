"""The tables of sagas: where each stands, what a participant has done of it, who settled one, and the intake."""

from django.db import models

from migration_tools.messaging.fields import ClockTimestamp
from migration_tools.sagas.decisions import OPEN, Direction, Status


class SagaState(models.Model):
    """One saga, kept by the service that orchestrates it; moves in the transaction that publishes the next command.

    `wake_at` is when the runner looks at it if nothing is heard; empty when it waits for nobody.
    """

    saga_id = models.UUIDField(primary_key=True)
    saga_type = models.CharField(max_length=50)
    version = models.IntegerField(default=1)
    context = models.TextField()
    aggregate_type = models.TextField(default="", db_default="")
    aggregate_id = models.TextField(default="", db_default="")
    current_step = models.IntegerField(default=0)
    max_steps = models.IntegerField()
    status = models.CharField(max_length=20, default=Status.RUNNING.value)
    attempt = models.IntegerField(default=1)
    payload = models.JSONField(default=dict)
    steps_completed = models.JSONField(default=list)
    steps_compensated = models.JSONField(default=list)
    reason = models.TextField(default="", db_default="")
    alarm = models.TextField(default="", db_default="")
    alarm_at = models.DateTimeField()
    wake_at = models.DateTimeField(null=True)
    correlation_id = models.TextField(default="", db_default="")
    created_at = models.DateTimeField(db_default=ClockTimestamp())
    updated_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "saga_state"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(status__in=[each.value for each in Status]), name="saga_state_status"
            )
        ]
        indexes = [
            models.Index(
                fields=["wake_at"],
                name="saga_state_due",
                condition=models.Q(status__in=[each.value for each in OPEN]),
            ),
            models.Index(
                fields=["context", "aggregate_type", "aggregate_id"],
                name="saga_state_open",
                condition=models.Q(status__in=[each.value for each in OPEN]),
            ),
        ]


class SagaStep(models.Model):
    """What a participant has done of a saga: inserted first, with the result that a repetition is answered with."""

    pk = models.CompositePrimaryKey("saga_id", "step", "direction")
    saga_id = models.UUIDField()
    step = models.CharField(max_length=50)
    direction = models.CharField(max_length=4, choices=[(each.value, each.value) for each in Direction])
    outcome = models.CharField(max_length=10)
    result = models.JSONField(default=dict)
    reason = models.TextField(default="", db_default="")
    at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "saga_step"


class SagaLog(models.Model):
    """Each transition of a saga, and what operators did to it, by whom and why. Append-only."""

    id = models.BigAutoField(primary_key=True)
    saga_id = models.UUIDField()
    event = models.TextField()
    step = models.TextField(default="", db_default="")
    attempt = models.IntegerField(default=0, db_default=0)
    actor = models.TextField(default="", db_default="")
    reason = models.TextField(default="", db_default="")
    at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "saga_log"
        indexes = [models.Index(fields=["saga_id", "id"], name="saga_log_of_saga")]


class SagaIntake(models.Model):
    """Whether sagas of a context may begin; closed for the length of a hand-over, and by itself open again after it."""

    context = models.TextField(primary_key=True)
    closed_until = models.DateTimeField(null=True)
    reason = models.TextField(default="", db_default="")

    class Meta:
        db_table = "saga_intake"
