"""What orders call their customer, whichever comes first: the purchase or the news of another name."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.examples.orders_service import RunningService, Shopper
from tests.examples.test_orders_service import place

pytest_plugins = ["tests.examples.orders_service"]

HEAR = """
from django.db import transaction
from migration_tools.messaging.handlers import find
from migration_tools.testing.deliveries import sample
said = {{"user_id": {uid}, "name": {name!r}}}
event = sample("user.renamed", said, stream="users", aggregate_type="user", aggregate_id={uid})
with transaction.atomic():
    for handler, lifted in find(event, "names"):
        handler.function(lifted)
"""


def hear(service: RunningService, uid: int, name: str) -> None:
    """Let the service's handler hear of a new name, in a process of its own."""
    done = service.manage("shell", "-v0", "-c", HEAR.format(uid=uid, name=name))
    assert done.returncode == 0, done.stderr


def names(service: RunningService, uid: int) -> set[str]:
    return {name for (name,) in service.rows("SELECT customer_name FROM sales_order WHERE customer_id = %s", uid)}


def test_news_of_a_name_comes_before_a_purchase_that_shows_an_older_token(
    orders_service: RunningService, shopper: Shopper, uid: int
) -> None:
    client = shopper(uid, "Ada Byron")
    place(client)
    assert names(orders_service, uid) == {"Ada Byron"}
    hear(orders_service, uid, "Ada Lovelace")
    place(client)
    assert names(orders_service, uid) == {"Ada Lovelace"}


@pytest.mark.parametrize("known", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_news_of_a_name_come_while_a_purchase_that_copied_the_older_one_is_not_committed(
    orders_service: RunningService, shopper: Shopper, uid: int, known: bool
) -> None:
    client = shopper(uid, "Ada Byron")
    if known:
        place(client)
    else:
        place(shopper(uid + 1))  # the day's row, for which every purchase waits last, is there
    dsn = orders_service.dsn(orders_service.database, "orders_owner")
    waiting = (
        "SELECT count(*) = {} FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with ThreadPoolExecutor(2) as pool, psycopg.connect(dsn) as holder:
        holder.execute("SELECT 1 FROM sales_dailycount FOR UPDATE")
        purchase = pool.submit(place, client)
        orders_service.wait_until(waiting.format(1))
        heard = pool.submit(hear, orders_service, uid, "Ada Lovelace")
        orders_service.wait_until(waiting.format(2))
        holder.rollback()
        purchase.result()
        heard.result()
    assert names(orders_service, uid) == {"Ada Lovelace"}
