"""Who caused a write stands beside it: requests, Celery's tasks, commands; by ORM and raw SQL; nothing leaks."""

import asyncio
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from django.db import connection, connections, transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from legacy_monolith.accounts.models import User
from legacy_monolith.orders.models import Order
from migration_tools.errors import StrangleError
from migration_tools.messaging.celery import carry_causality
from migration_tools.messaging.context import Causality, caused_by
from migration_tools.messaging.outbox import publish
from migration_tools.messaging.stamping import stamp

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CHAIN = Causality(correlation_id="c1", causation_id="e1", metadata={"traceparent": TRACE})


def write(request: HttpRequest, order: int) -> HttpResponse:
    with transaction.atomic():
        request.user = User.objects.get(pk=order)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE orders_order SET note = 'no % of a parameter' WHERE id = " + str(order))
        Order.objects.filter(pk=order).update(note="orm")
        publish("order.noted", aggregate_type="order", aggregate_id=order, payload={}, stream="orders")
    return HttpResponse("done")


BOTH_INSIDE: dict[str, asyncio.Barrier] = {}


@transaction.non_atomic_requests
async def write_async(request: HttpRequest, order: int) -> HttpResponse:
    await BOTH_INSIDE["view"].wait()
    await asyncio.to_thread(_note, order)
    return HttpResponse("done")


def _note(order: int) -> None:
    Order.objects.filter(pk=order).update(note="async")
    connections.close_all()


urlpatterns = [path("write/<int:order>/", write), path("async/<int:order>/", write_async)]


def told(stage: Any) -> list[tuple[Any, ...]]:
    """(kind, correlation, causation, metadata) of each outbox row, in order."""
    return list(
        stage.shop.execute("SELECT kind, correlation_id, causation_id, metadata FROM strangle_outbox ORDER BY seq")
    )


@pytest.fixture
def site(stage: Any, settings: Any) -> Any:
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["*"]
    settings.MIDDLEWARE = ["migration_tools.messaging.middleware.CausalityMiddleware"]
    return stage


def test_a_request_s_writes_and_events_carry_its_ids_its_trace_and_its_user(site: Any) -> None:
    answer = Client().get("/write/3/", headers={"X-Correlation-ID": "shop-7", "traceparent": TRACE})
    assert answer.headers["X-Correlation-ID"] == "shop-7"
    expected = ("shop-7", None, {"traceparent": TRACE, "user": "3"})
    assert told(site) == [("t", *expected), ("t", *expected), ("e", *expected)]
    answer = Client().get("/write/4/", headers={"X-Correlation-ID": "evil\tid", "traceparent": "x"})
    drawn = answer.headers["X-Correlation-ID"]
    assert len(drawn) == 36
    assert told(site)[3:] == [(kind, drawn, None, {"user": "4"}) for kind in "tte"]


def test_two_requests_in_one_event_loop_keep_their_ids_apart(site: Any) -> None:
    async def ask() -> None:
        BOTH_INSIDE["view"] = asyncio.Barrier(2)
        client = AsyncClient()
        await asyncio.gather(
            *(client.get(f"/async/{n}/", headers={"X-Correlation-ID": f"request-{n}"}) for n in (5, 6))
        )

    asyncio.run(ask())
    keys = site.shop.execute("SELECT touched #>> '{b,0,0}', correlation_id FROM strangle_outbox ORDER BY 1").fetchall()
    assert keys == [("5", "request-5"), ("6", "request-6")]


def test_a_task_carries_the_chain_of_who_published_it_to_its_worker(stage: Any) -> None:
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)
    carry_causality()

    @app.task(name="shop.note")
    def note(order: int) -> None:
        _note(order)

    @app.task(name="celery.ping")
    def ping() -> str:
        return "pong"

    with caused_by(CHAIN):
        first = note.delay(7)
    second = note.delay(8)
    with start_worker(app, pool="solo", perform_ping_check=False, loglevel="ERROR", shutdown_timeout=20):
        for _ in range(400):
            if len(told(stage)) == 2:
                break
            stage.shop.execute("SELECT pg_sleep(0.02)")
    assert told(stage) == [
        ("t", "c1", first.id, {"traceparent": TRACE, "task": "shop.note"}),
        ("t", second.id, second.id, {"task": "shop.note"}),
    ]


def test_a_command_s_writes_carry_its_name_and_none_of_its_arguments(stage: Any) -> None:
    code = "from legacy_monolith.orders.models import Order; Order.objects.filter(pk=9).update(note='by hand')"
    done = stage.pair.manage("shell", "-c", code)
    assert done.returncode == 0, done.stderr
    ((kind, correlation, causation, metadata),) = told(stage)
    assert (kind, causation, metadata) == ("t", None, {"command": "shell"})
    assert len(correlation) == 36


def test_nothing_is_told_without_a_chain_and_nothing_of_a_chain_that_has_ended(stage: Any) -> None:
    with transaction.atomic():
        Order.objects.filter(pk=1).update(note="before")
        with caused_by(CHAIN):
            Order.objects.filter(pk=1).update(note="within")
        Order.objects.filter(pk=1).update(note="after")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE orders_order SET note = 'another transaction' WHERE id = 2")
    assert [row[1] for row in told(stage)] == [None, "c1", None, None]


def test_every_form_of_statement_is_told_and_answers_as_it_did(stage: Any) -> None:
    with caused_by(CHAIN):
        made = User.objects.create(email="new@example.com")
        assert made.pk
        assert Order.objects.filter(pk__lte=4).update(note=F("client_reference")) == 4
        with connection.cursor() as cursor:
            cursor.execute("UPDATE orders_order SET note = %(note)s WHERE id = 1 RETURNING id, note", {"note": "50 %"})
            assert cursor.fetchall() == [(1, "50 %")]
            assert cursor.rowcount == 1
            cursor.execute(
                "/* a note */ WITH o AS (SELECT 2 AS id) UPDATE orders_order SET note = 'w' FROM o "
                "WHERE o.id = orders_order.id"
            )
            assert cursor.rowcount == 1
            with transaction.atomic():
                cursor.executemany("UPDATE orders_order SET note = %s WHERE id = %s", [("a", 1), ("b", 2)])
        with transaction.atomic():
            try:
                with transaction.atomic():
                    Order.objects.filter(pk=1).update(note="never")
                    raise LookupError
            except LookupError:
                pass
            Order.objects.filter(pk=1).update(note="after the savepoint")
        with transaction.atomic():
            stamp("default")
            with (
                connection.cursor() as cursor,
                cursor.copy("COPY orders_orderline (order_id, product_id, quantity, unit_price) FROM STDIN") as copy,
            ):
                copy.write_row((1, 1, 3, "0.10"))
        with pytest.raises(StrangleError, match="outside a transaction"):
            stamp("default")
    assert {row[1:3] for row in told(stage)} == {("c1", "e1")}
    assert len(told(stage)) == 9  # the new customer is told of as well


def test_a_setting_that_is_no_json_fails_no_write(stage: Any) -> None:
    for wrong in ("not json", "1", '"text"', '{"correlation": "\\u0000"}'):
        with stage.shop.transaction():
            stage.shop.execute("SELECT set_config('strangle.context', %s, true)", [wrong])
            stage.shop.execute("UPDATE orders_order SET note = 'kept' WHERE id = 1")
    assert [row[1] for row in told(stage)] == [None] * 4


def test_a_reader_pays_nothing_and_a_writer_no_round_trip(stage: Any, django_assert_num_queries: Any) -> None:
    with caused_by(CHAIN), django_assert_num_queries(2) as seen:
        Order.objects.filter(pk=1).first()
        Order.objects.filter(pk=1).update(note="one")
    assert "set_config" not in seen.captured_queries[0]["sql"]
