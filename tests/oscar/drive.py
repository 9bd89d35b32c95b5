"""Migrate oscar, drive customers through its own views under the tracer, and say what happened as JSON."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import django
from django.core.management import call_command
from django.db import connection, transaction

COUNTERS = "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables"
CHECKOUTS = 2


def main(directory: Path) -> dict[str, Any]:
    """One drive without capture, one with it on every table."""
    from django.test.utils import setup_test_environment

    from migration_tools.analysis.context_file import load_contexts
    from migration_tools.analysis.observation import Observer
    from migration_tools.analysis.trace import Trace
    from tests.oscar.capture import capture_everything
    from tests.oscar.shop import stock_the_shop

    setup_test_environment()
    call_command("migrate", verbosity=0)
    products = stock_the_shop()
    trace = Trace(load_contexts())
    observer = Observer(trace.contexts, [trace])
    observer.install()
    plain = shop(products)
    observer.uninstall()
    trace.save(directory / "trace.json")
    captured = capture_everything()
    before = written()
    with_capture = shop(products)
    after = written()
    return {
        "orders": {"plain": plain, "captured": with_capture},
        "tables": len(captured),
        "written": sorted(name for name in captured if after.get(name, 0) > before.get(name, 0)),
        "in_outbox": outbox(),
        "rows_of_orders": order_rows(),
    }


def shop(products: list[Any]) -> list[str]:
    """Some customers, from the registration to the page that thanks them."""
    from tests.oscar.shop import Customer

    numbers = []
    for number in range(CHECKOUTS):
        customer = Customer()
        customer.register()
        customer.browse()
        numbers.append(customer.buy(products[number], quantity=number + 1))
    return numbers


def written() -> dict[str, int]:
    """Rows written so far, by table, as PostgreSQL counts them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT pg_stat_clear_snapshot()")
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute(COUNTERS)
        return {str(name): int(rows) for name, rows in cursor.fetchall()}


def outbox() -> dict[str, int]:
    """Captured statements by table."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT table_name, count(*) FROM strangle_outbox WHERE kind = 't' GROUP BY 1")
        return {str(name): int(rows) for name, rows in cursor.fetchall()}


def order_rows() -> list[list[int]]:
    """Keys of the orders there are, and those whose creation capture has recorded."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT id FROM order_order ORDER BY id")
        there = [int(key) for (key,) in cursor.fetchall()]
        cursor.execute(
            "SELECT DISTINCT (key ->> 0)::int FROM strangle_outbox, jsonb_array_elements(touched -> 'b') key "
            "WHERE table_name = 'order_order' ORDER BY 1"
        )
        return [there, [int(key) for (key,) in cursor.fetchall()]]


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.oscar.settings")
    django.setup()
    print(json.dumps(main(Path(sys.argv[1]))))
