"""Models of awkward shapes: every kind of key, of relation between tables, and of column."""

import uuid
from typing import Any

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models.functions import Now, Upper

from tests.shapes.columns import TYPES

# --- keys


class Word(models.Model):
    """A text key."""

    spelling = models.CharField(max_length=50, primary_key=True)
    meaning = models.TextField(null=True)


class Token(models.Model):
    """A UUID key."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    label = models.TextField()


class Seat(models.Model):
    """A composite key, of which one part is text."""

    pk = models.CompositePrimaryKey("hall", "number")
    hall = models.CharField(max_length=20)
    number = models.IntegerField()
    taken_by = models.TextField(null=True)


# --- relations


class Part(models.Model):
    """A tree in one table."""

    id = models.BigIntegerField(primary_key=True)
    name = models.TextField()
    whole = models.ForeignKey("self", models.DO_NOTHING, null=True, related_name="parts")


class Team(models.Model):
    """Half of a cycle."""

    id = models.BigIntegerField(primary_key=True)
    name = models.TextField()
    captain = models.ForeignKey("Player", models.DO_NOTHING, null=True, related_name="+")


class Player(models.Model):
    """The other half, which must have a team."""

    id = models.BigIntegerField(primary_key=True)
    name = models.TextField()
    team = models.ForeignKey(Team, models.DO_NOTHING, related_name="players")


class Tag(models.Model):
    """One end of a many-to-many relation."""

    id = models.BigIntegerField(primary_key=True)
    name = models.TextField(unique=True)


class Article(models.Model):
    """The other end; its through table is made by Django."""

    id = models.BigIntegerField(primary_key=True)
    title = models.TextField()
    tags = models.ManyToManyField(Tag)


class Place(models.Model):
    """The parent of multi-table inheritance."""

    id = models.BigIntegerField(primary_key=True)
    name = models.TextField()


class Restaurant(Place):
    """Its child: the name is a column of the parent's table."""

    stars = models.IntegerField()


class Comment(models.Model):
    """A generic relation: the number of a content type is another one in another database."""

    id = models.BigIntegerField(primary_key=True)
    text = models.TextField()
    content_type = models.ForeignKey(ContentType, models.DO_NOTHING)
    object_id = models.BigIntegerField()
    subject = GenericForeignKey()


# --- rows that hide, and rows of which only some move


class VisibleOnly(models.Manager["Document"]):
    """A default manager that hides what was deleted softly."""

    def get_queryset(self) -> Any:
        """Living documents."""
        return super().get_queryset().filter(deleted=False)


class Raising(models.Manager["Secret"]):
    """A default manager that refuses to work without a tenant."""

    def get_queryset(self) -> Any:
        """Never."""
        raise RuntimeError("no tenant is set")


class Document(models.Model):
    """Soft deletes, and one tenant of many."""

    id = models.BigIntegerField(primary_key=True)
    tenant = models.IntegerField(default=1)
    kind = models.TextField(default="letter")
    title = models.TextField()
    body = models.TextField(null=True)
    deleted = models.BooleanField(default=False)
    objects = VisibleOnly()


class Secret(models.Model):
    """A model whose default manager raises."""

    id = models.BigIntegerField(primary_key=True)
    text = models.TextField()
    objects = Raising()


class Invoice(models.Model):
    """One of two tables that become one."""

    id = models.BigIntegerField(primary_key=True)
    cents = models.BigIntegerField()


class CreditNote(models.Model):
    """The other; its ids are its own."""

    id = models.BigIntegerField(primary_key=True)
    cents = models.BigIntegerField()
    reason = models.TextField(null=True)


# --- columns


class Reading(models.Model):
    """Columns that the database fills."""

    id = models.BigAutoField(primary_key=True)
    label = models.TextField()
    loud = models.GeneratedField(expression=Upper("label"), output_field=models.TextField(), db_persist=True)
    made_at = models.DateTimeField(db_default=Now())
    weight = models.IntegerField(db_default=7)


class Thing(models.Model):
    """Every type of column that PostgreSQL has; its table is made by SQL."""

    id = models.BigIntegerField(primary_key=True)
    for _name in TYPES:
        locals()[_name] = models.TextField(null=True)
    del _name

    class Meta:
        managed = False
        db_table = "shapes_thing"


class Event(models.Model):
    """A partitioned table; its table is made by SQL."""

    pk = models.CompositePrimaryKey("id", "year")
    id = models.BigIntegerField()
    year = models.IntegerField()
    note = models.TextField(null=True)

    class Meta:
        managed = False
        db_table = "shapes_event"
