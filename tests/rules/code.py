"""Rows of the rules that code breaks, as it is written and as it is registered."""

from tests.rules.row import Row

#: What each file begins with.
HEADS = {
    "sales/receivers.py": """
import functools
from django.db.models.signals import post_delete, post_init, post_save
from django.dispatch import Signal, receiver
from people.signals import Moves, renamed  # SFA110
from sales.models import Visit
""",
    "sales/admin.py": """
from django.contrib import admin
from sales.models import Booking, Visit
""",
    "sales/sql.py": """
from django.db import connection
from django.db.models.expressions import RawSQL
from psycopg import sql
from people.models import Person  # SFA110
""",
    "sales/seen.sql": """SELECT name --  # SFA111
FROM people_person;
SELECT day FROM sales_visit;

DELETE FROM people_person WHERE name = '';  --  # SFA111
""",
    "sales/writes.py": """
from django.apps import apps
from django.shortcuts import get_object_or_404
from people import models as theirs  # SFA110
from people.models import Person
from sales.models import Visit
""",
    "sales/blind.py": """
import copy
import shutil
import psycopg as driver
from psycopg2 import connect
from django.db import connection, connections
from django.db.models.signals import post_save
from psycopg_pool import ConnectionPool
""",
}

ROWS = [
    Row(
        rule="SFA108",
        file="sales/receivers.py",
        planted="""
@receiver(post_save, sender="people.Person")  # SFA108
def greet(**kwargs):
    pass

@receiver(renamed)  # SFA108
def rename(**kwargs):
    pass

@receiver(Moves.moved, sender=Visit)  # SFA108
def move(**kwargs):
    pass

@receiver(post_delete)  # SFA108
def forget_whatever_goes(**kwargs):
    pass

class Ledger:  # SFA108
    def __call__(self, **kwargs):
        pass

LEDGER = Ledger()
renamed.connect(LEDGER)

def told(how, **kwargs):  # SFA108
    pass

BY_MAIL = functools.partial(told, "by mail")
renamed.connect(BY_MAIL)
""",
        neighbour="""
visited = Signal()

@receiver(post_save, sender=Visit)
def visit(**kwargs):
    pass

@receiver(visited)
def thank(**kwargs):
    pass

def never_connected(**kwargs):
    pass

@receiver(renamed)
def gone(**kwargs):
    pass

renamed.disconnect(gone)
del gone
""",
    ),
    Row(
        rule="SFA109",
        file="sales/admin.py",
        planted="""
@admin.register(Visit)  # SFA109
class VisitAdmin(admin.ModelAdmin):
    list_display = ["day", "seen_by__name"]

class OfTheOffice(admin.ModelAdmin):  # SFA109
    search_fields = ["seen_by__name"]

OFFICE = admin.AdminSite("office")
OFFICE.register(Visit, OfTheOffice)
""",
        neighbour="""
@admin.register(Booking)
class BookingAdmin(admin.ModelAdmin):
    list_display = ["day"]
    ordering = ["-day"]
""",
    ),
    Row(
        rule="SFA110",
        file="sales/imports.py",
        planted="""
import people.signals  # SFA110
from people import models as theirs  # SFA110
from django.contrib.auth.models import User  # SFA110
""",
        neighbour="""
import json
from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_required
from sales import models
""",
    ),
    Row(
        rule="SFA111",
        file="sales/sql.py",
        planted="""
CLEAN = "DELETE FROM people_person WHERE name = ''"  # SFA111

def load(table, rows):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT name FROM people_person WHERE id IN ({rows})")  # SFA111
        cursor.execute("COPY people_person (name) FROM '/dev/null'")  # SFA111
        run = cursor.execute
        run("MERGE INTO sales_visit v USING people_person p ON p.id = v.id WHEN MATCHED THEN DELETE")  # SFA111

SEEN = "SELECT day FROM sales_visit"
OF_A_TABLE = "SELECT count(*) FROM %s"

def in_disguise(names, found):
    table = "people_person"
    run = connection.cursor().execute
    run(f"DELETE FROM {table}")  # SFA111
    run("UPDATE " + table + " SET name = ''")  # SFA111
    run("DELETE FROM {t} WHERE id > {n}".format(t="people_person", n=1))  # SFA111
    run(OF_A_TABLE % "people_person")  # SFA111
    run(f"TRUNCATE {Person._meta.db_table}")  # SFA111
    run(sql.SQL("SELECT name FROM {}").format(sql.Identifier("people_person")))  # SFA111
    run(" ".join(["SELECT name", "FROM people_person"]))  # SFA111
    for each in ("sales_visit", "people_person"):
        run(f"DELETE FROM {each}")  # SFA111
    asked = "SELECT day FROM sales_visit v"  # SFA111
    asked += " JOIN people_person p ON p.id = v.seen_by_id"
    run(asked)
    run(SEEN + " WHERE id IN (SELECT id FROM people_person)")  # SFA111
    run("-- theirs\\nSELECT name -- of all\\nFROM people_person")  # SFA111
    whose = RawSQL("(SELECT name FROM people_person p WHERE p.id = seen_by_id)", [])  # SFA111
    return found.annotate(whose=whose).extra(  # SFA111
        tables=["people_person"], where=["EXISTS (SELECT 1 FROM people_person)"]  # SFA111
    )
""",
        neighbour='''
OWN = "DELETE FROM sales_visit"
SAID = "people_person is a table"

def explain():
    """SELECT name FROM people_person is what this does not do."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT day FROM sales_visit")
        cursor.execute(CLEAN)
        cursor.execute(CLEAN + " AND id > %s", [1])
        cursor.execute(OF_A_TABLE % unknown())
        cursor.execute("SELECT '%s people_person'" % "select")
''',
    ),
    Row(
        rule="SFA112",
        file="sales/writes.py",
        planted="""
Found = apps.get_model("people", "Person")

async def enter(name):
    Person.objects.create(name=name)  # SFA112
    Person.objects.filter(name=name).exclude(pk=1).update(name="")  # SFA112
    Found._default_manager.all().delete()  # SFA112
    await Person.objects.acreate(name=name)  # SFA112

def held(pk, given: Person, rows):
    theirs.Person.objects.bulk_create(rows)  # SFA112
    everyone = Person.objects.all()
    grown = everyone.exclude(pk=pk)
    grown.filter(name="").delete()  # SFA112
    one = get_object_or_404(Person, pk=pk)
    one.save()  # SFA112
    for each in Person.objects.filter(name=""):
        each.delete()  # SFA112
    made = theirs.Person(name="")
    made.save()  # SFA112
    given.save(update_fields=["name"])  # SFA112
""",
        neighbour="""
def look(name):
    Visit.objects.create()
    Visit.objects.filter(seen_by__name=name).update(day=None)
    return Person.objects.filter(name=name).count(), {}.update(name=name)

def hold(form, pk):
    row = Person.objects.values("name").get(pk=pk)
    row.update(name="")
    visit = Visit.objects.get(pk=pk)
    visit.save()
    either = Person.objects.get(pk=pk)
    either = form
    either.save()
    person = Person.objects.get(pk=pk)
    person.name.update()
    return person
""",
    ),
    Row(
        rule="SFA113",
        file="sales/blind.py",
        planted="""
def load(statement, rows, unknown):
    with connection.cursor() as c:
        with c.copy(statement) as lines:  # SFA113
            lines.write(rows)
        c.callproc("close_day")  # SFA113
        c.connection.execute("SELECT 1")  # SFA113
    cur = connections["default"].cursor()
    cur.copy_expert(statement, rows)  # SFA113
    cur.stream(statement)  # SFA113
    unknown.copy("COPY sales_visit FROM STDIN")  # SFA113
    connection.cursor().copy(statement)  # SFA113
    driver.connect("dbname=shop")  # SFA113
    connect("dbname=shop")  # SFA113
    ConnectionPool("dbname=shop")  # SFA113
    connection.ensure_connection()
    raw = connection.connection  # SFA113
    mine = connections["default"]
    mine.connection.execute("SELECT 1")  # SFA113
""",
        neighbour="""
def keep(given, path, handler, socket):
    with connection.cursor() as c:
        c.execute("SELECT 1")
    if connection.connection is None:
        connection.connect()
    post_save.connect(handler)
    socket.connect(("127.0.0.1", 1))
    shutil.copy(path, path)
    return given.copy(), copy.copy(given), {}.copy(), given.stream(), driver.rows.dict_row, socket.connection
""",
    ),
]
