"""The tables of capture: who owns a context, which relations and triggers are installed."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from migration_tools.messaging.fields import ClockTimestamp


class Side(models.TextChoices):
    """The two sides of a context: the monolith is its source, the service its target."""

    SOURCE = "source"
    TARGET = "target"

    @property
    def other(self) -> "Side":
        """The opposite side."""
        return Side.TARGET if self is Side.SOURCE else Side.SOURCE


class Ownership(models.Model):
    """Which side may write a context, as this database's fence knows it; `epoch` grows with each hand-over."""

    context = models.TextField(primary_key=True)
    side = models.CharField(max_length=6, choices=Side.choices)
    owner = models.CharField(max_length=6, choices=Side.choices)
    epoch = models.BigIntegerField(default=1)
    changed_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_ownership"


class Relation(models.Model):
    """One compiled projection: the SELECT that maps this side's rows, and how touched keys are found.

    Rows are immutable once records refer to them; a new declaration makes a new row and retires the old one.
    """

    stream = models.TextField()
    projection = models.TextField()
    kind = models.CharField(max_length=1)
    source_table = models.TextField()
    target_table = models.TextField()
    key_columns = ArrayField(models.TextField())
    key_types = ArrayField(models.TextField())
    key_parts = models.JSONField(null=True)
    columns = ArrayField(models.TextField())
    query = models.TextField()
    share = models.TextField(default="", db_default="")
    transforms = models.JSONField(null=True)
    dependencies = models.JSONField(default=list)
    rank = models.IntegerField()
    owned = models.BooleanField()
    declaration = models.TextField()
    active = models.BooleanField(default=True)

    class Meta:
        db_table = "strangle_relation"
        constraints = [
            models.UniqueConstraint(
                fields=["stream", "projection", "kind"],
                condition=models.Q(active=True),
                name="strangle_relation_active",
            )
        ]


class CapturedTable(models.Model):
    """A table with our triggers on it: the hash of what was declared, and the server's own words for what was made."""

    pk = models.CompositePrimaryKey("stream", "table_name")
    stream = models.TextField()
    table_name = models.TextField()
    fenced = models.BooleanField()
    captured = models.BooleanField()
    declaration = models.TextField()
    made = models.JSONField(default=dict, db_default=models.Value({}, output_field=models.JSONField()))
    installed_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_captured_table"


class Layout(models.Model):
    """Which columns the triggers of a table reported, and in which order, when a touch was written.

    Rows are never changed: touches that wait in the outbox refer to them. Numbers are the columns' own, which a
    rename does not change; those of a partition are its parent's.
    """

    stream = models.TextField()
    table_name = models.TextField()
    relation = models.BigIntegerField()
    key_columns = ArrayField(models.TextField())
    key_numbers = ArrayField(models.IntegerField())
    reported_columns = ArrayField(models.TextField())
    reported_numbers = ArrayField(models.IntegerField())

    class Meta:
        db_table = "strangle_layout"
        indexes = [models.Index(fields=["stream", "table_name"], name="strangle_layout_table")]


class WaitingReference(models.Model):
    """A reference that was left NULL because the row it points to is not copied yet; see transfer.waiting."""

    id = models.BigAutoField(primary_key=True)
    stream = models.TextField()
    table_name = models.TextField()
    reference = models.TextField()
    key = ArrayField(models.TextField())
    wanted = ArrayField(models.TextField())

    class Meta:
        db_table = "strangle_waiting_reference"
        constraints = [
            models.UniqueConstraint(
                fields=["stream", "table_name", "reference", "key"], name="strangle_waiting_reference_key"
            )
        ]


class LogSource(models.Model):
    """A stream whose touched keys are read from the log: its publication and slot, and how far ticks have taken it.

    `tables` says which columns of which table to report; `token` lets the reader believe the apply path's marks.
    """

    stream = models.TextField(primary_key=True)
    slot = models.TextField()
    publication = models.TextField()
    token = models.TextField()
    tables = models.JSONField()
    confirmed = models.BigIntegerField()
    installed_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_log_source"


class ForeignRow(models.Model):
    """The newest source position that was applied of a row fed by another tool; see transfer.foreign.

    Kept after a delete too, so that a late repetition cannot bring the row back.
    """

    pk = models.CompositePrimaryKey("feed", "table_name", "key")
    feed = models.TextField()
    table_name = models.TextField()
    key = ArrayField(models.TextField())
    position = ArrayField(models.BigIntegerField())
    applied_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "strangle_foreign_row"
