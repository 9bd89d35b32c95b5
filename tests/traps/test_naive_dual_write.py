"""Two writes by the application, one to each database, are not one: what the toolkit's dual write is instead."""

import subprocess
import sys
from typing import Any

import pytest

from tests.traps.test_forms_of_writes import copied

__all__ = ["copied"]

OURS = "UPDATE orders_order SET note = 'written twice' WHERE id = 1"
THEIRS = "UPDATE sales_order SET remark = 'written twice' WHERE id = 1"
PURCHASE = """
import os, sys, psycopg
shop, orders, second, dies = sys.argv[1:]
with psycopg.connect(shop) as conn:
    conn.execute(\"\"\"%s\"\"\")
if dies == "between":
    os._exit(9)
if second:
    with psycopg.connect(orders) as conn:
        conn.execute(\"\"\"%s\"\"\")
""" % (OURS, THEIRS)  # noqa: UP031  (the program has braces of none, and quotes of all kinds)


def purchase(stage: Any, *, second: bool, dies: str = "") -> int:
    """A process of the application that writes, to both databases if `second`; it may die between them."""
    cluster, pair = stage.pair.cluster, stage.pair
    places = [cluster.dsn(pair.shop), cluster.dsn(pair.orders)]
    arguments = [*places, "second" if second else "", dies]
    return subprocess.run([sys.executable, "-c", PURCHASE, *arguments], check=False).returncode


def without_us(stage: Any) -> None:
    """Neither captured nor fenced."""
    stage.shop.execute("ALTER TABLE orders_order DISABLE TRIGGER USER")
    stage.orders.execute("ALTER TABLE sales_order DISABLE TRIGGER USER")


@pytest.mark.parametrize("captured", [False, True], ids=["the application writes twice", "capture"])
def test_a_process_that_dies_between_its_two_writes(copied: Any, captured: bool) -> None:
    if not captured:
        without_us(copied)
    assert purchase(copied, second=not captured, dies="between") == 9
    copied.settle()
    assert bool(copied.differences()) is not captured


@pytest.mark.parametrize("captured", [False, True], ids=["the application writes twice", "capture"])
def test_two_writers_of_one_row_whose_second_writes_come_in_the_other_order(copied: Any, captured: bool) -> None:
    """Each database is right by itself, and they differ for good."""
    if not captured:
        without_us(copied)
    for writer in ("first", "second"):
        copied.shop.execute("UPDATE orders_order SET note = %s WHERE id = 1", [writer])
    if not captured:
        for writer in ("second", "first"):
            copied.orders.execute("UPDATE sales_order SET remark = %s WHERE id = 1", [writer])
    copied.settle()
    assert bool(copied.differences()) is not captured
