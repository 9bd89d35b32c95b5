"""Rows of the rules that models break."""

from tests.rules.row import Row

#: What each file begins with.
HEADS = {
    "people/__init__.py": "",
    "people/models.py": """
from django.contrib.contenttypes.fields import GenericRelation
from django.db import models

class Person(models.Model):
    name = models.CharField(max_length=40)
    labels = GenericRelation("sales.Label")

class Named(models.Model):
    class Meta:
        abstract = True
""",
    "people/signals.py": """
from django.dispatch import Signal
renamed = Signal()

class Moves:
    moved = Signal()
    another_name_of_it = renamed
""",
    "sales/__init__.py": "",
    "sales/apps.py": """
from django.apps import AppConfig

class SalesConfig(AppConfig):
    name = "sales"

    def ready(self):
        from sales import receivers
""",
    "sales/models.py": """
from django.contrib.contenttypes.fields import GenericForeignKey
from django.db import models
from people.models import Named, Person  # SFA110

class Visit(models.Model):
    day = models.DateField()
    seen_by = models.ForeignKey("people.Person", models.PROTECT)  # SFA101
""",
}

ROWS = [
    Row(
        rule="SFA101",
        file="sales/models.py",
        planted="""
class Call(models.Model):
    person = models.ForeignKey("people.Person", models.PROTECT)  # SFA101
""",
        neighbour="""
class Answer(models.Model):
    call = models.ForeignKey(Call, models.PROTECT)
    person_id = models.IntegerField()
""",
    ),
    Row(
        rule="SFA102",
        file="sales/models.py",
        planted="""
class Basket(models.Model):
    person = models.ForeignKey(Person, models.CASCADE)  # SFA101 SFA102
    friend = models.ForeignKey(Person, models.SET_NULL, null=True, related_name="+")  # SFA101 SFA102
""",
        neighbour="""
class Voucher(models.Model):
    basket = models.ForeignKey(Basket, models.CASCADE)
    person = models.ForeignKey(Person, models.RESTRICT)  # SFA101
    friend = models.ForeignKey(Person, models.DO_NOTHING, related_name="+")  # SFA101
""",
    ),
    Row(
        rule="SFA103",
        file="sales/models.py",
        planted="""
class Account(models.Model):
    person = models.OneToOneField("people.Person", models.PROTECT)  # SFA103
""",
        neighbour="""
class Balance(models.Model):
    account = models.OneToOneField(Account, models.CASCADE)
""",
    ),
    Row(
        rule="SFA104",
        file="sales/models.py",
        planted="""
class Tour(models.Model):
    people = models.ManyToManyField("people.Person")  # SFA104
""",
        neighbour="""
class Season(models.Model):
    tours = models.ManyToManyField(Tour)
""",
    ),
    Row(
        rule="SFA105",
        file="sales/models.py",
        planted="""
class Label(models.Model):
    content_type = models.ForeignKey("contenttypes.ContentType", models.PROTECT)  # SFA101
    object_id = models.IntegerField()
    of = GenericForeignKey()  # SFA105
""",
        neighbour="""
class Sticker(models.Model):
    kind = models.CharField(max_length=20)
    object_id = models.IntegerField()
""",
    ),
    Row(
        rule="SFA106",
        file="sales/models.py",
        planted="""
class Customer(Person):  # SFA106
    discount = models.IntegerField()
""",
        neighbour="""
class LongVisit(Visit):
    hours = models.IntegerField()

class Shop(Named):
    pass

class AsSeenHere(Person):
    class Meta:
        proxy = True
""",
    ),
    Row(
        rule="SFA107",
        file="sales/models.py",
        planted="""
class Booking(models.Model):  # SFA107
    person = models.ForeignKey(Person, models.PROTECT)  # SFA101
    day = models.DateField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["person", "day"], name="once_a_day")]

class Seat(models.Model):
    person = models.ForeignKey(Person, models.PROTECT)  # SFA101 SFA107
    row = models.IntegerField()

    class Meta:
        unique_together = [("person", "row")]

class Guide(models.Model):  # SFA107
    person = models.ForeignKey(Person, models.PROTECT)  # SFA101
    until = models.DateField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(person__gt=0) | models.Q(until=None), name="somebody")
        ]
""",
        neighbour="""
class Ticket(models.Model):
    person = models.ForeignKey(Person, models.PROTECT)  # SFA101
    booking = models.ForeignKey(Booking, models.PROTECT)
    number = models.IntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["booking", "number"], name="each_number_once")]
""",
    ),
]
