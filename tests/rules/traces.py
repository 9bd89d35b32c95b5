"""Rows of the rules that running code breaks, and of what only the database has seen."""

from tests.rules.row import Row

#: What each piece of code of the shop's orders begins with.
HEAD = """
from django.db import transaction
from legacy_monolith.orders.models import Order, OrderLine
from legacy_monolith.payments.models import Payment
"""

ROWS = [
    Row(
        rule="SFA201",
        file="planted_joins.py",
        planted="""
def planted():
    return list(Payment.objects.filter(order__status="placed"))  # SFA201 SFA205
""",
        neighbour="""
def neighbour():
    return list(OrderLine.objects.filter(order__status="placed"))
""",
    ),
    Row(
        rule="SFA202",
        file="planted_transactions.py",
        planted="""
def planted():  # SFA202
    with transaction.atomic():
        Order.objects.update(note="")
        Payment.objects.update(status="captured")  # SFA203
""",
        neighbour="""
def neighbour():
    with transaction.atomic():
        Order.objects.update(note="")
        OrderLine.objects.update(quantity=1)
    with transaction.atomic():
        Payment.objects.update(status="captured")  # SFA203
""",
    ),
    Row(
        rule="SFA203",
        file="planted_writers.py",
        planted="""
def planted():
    Payment.objects.update(status="captured")  # SFA203
""",
        neighbour="""
def neighbour():
    Order.objects.update(note="")
    return Payment.objects.count()  # SFA205
""",
    ),
    Row(
        rule="SFA204",
        file="planted_loops.py",
        planted="""
def planted():
    for key in range(5):
        Payment.objects.filter(order_id=key).first()  # SFA204
""",
        neighbour="""
def neighbour():
    for key in range(4):
        Payment.objects.filter(order_id=key).first()  # SFA205
    for key in range(9):
        Order.objects.filter(pk=key).first()
""",
    ),
    Row(
        rule="SFA205",
        file="planted_readers.py",
        planted="""
def planted():
    return Payment.objects.count()  # SFA205
""",
        neighbour="""
def neighbour():
    return Order.objects.count()
""",
    ),
]

#: What pg_stat_statements has and no trace does, and what touches no context's tables.
UNSEEN = Row(
    rule="SFA206",
    file="pg_stat_statements",
    planted="UPDATE payments_payment SET status = $1 FROM orders_order o WHERE o.id = order_id",
    neighbour="UPDATE strangle_tick SET number = $1",
)
