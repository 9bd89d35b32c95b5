"""One trace from the shopper's request through the outbox, relay and feed into the handler; JSON logs; health."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.test import Client, override_settings
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from extracted_services.dashboard.read_models import OrderSummary
from migration_tools.conf import settings
from migration_tools.messaging import outbox
from migration_tools.messaging.context import Causality, caused_by
from migration_tools.messaging.handlers import handles
from migration_tools.messaging.tracing import consuming, current_traceparent, trace_ids
from migration_tools.observability.logs import JsonFormatter
from migration_tools.projections import registry
from tests.conftest import ROOT, SMALL_SHOP, Pair
from tests.read_model_rig import install_models, settle, shown
from tests.stage import Stage


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """What was traced; OpenTelemetry's provider can be set once in a process."""
    made = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(made))
    trace.set_tracer_provider(provider)
    return made


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    exporter.clear()
    return exporter


def test_one_trace_leads_from_the_request_to_what_the_handler_did(
    stage: Stage, spans: InMemorySpanExporter, unregistered: None
) -> None:
    seen: list[str | None] = []

    @handles("basket.left", stream="orders")
    def remind(event: Any) -> None:
        with trace.get_tracer("test").start_as_current_span("write the reminder"):
            seen.append(current_traceparent())

    stage.settle()
    with trace.get_tracer("shop").start_as_current_span("POST /checkout/", kind=SpanKind.SERVER) as request:
        with transaction.atomic():
            outbox.publish("basket.left", aggregate_type="basket", aggregate_id=1, payload={}, stream="orders")
        stage.shop.execute("SELECT 1")
    stage.settle()
    found = {span.name: span for span in spans.get_finished_spans()}
    shopper, process, effect = found["POST /checkout/"], found["process basket.left"], found["write the reminder"]
    assert {span.context.trace_id for span in (shopper, process, effect)} == {request.get_span_context().trace_id}
    assert process.parent is not None
    assert effect.parent is not None
    assert process.parent.span_id == shopper.context.span_id
    assert effect.parent.span_id == process.context.span_id
    assert (process.kind, process.attributes["messaging.destination.name"]) == (SpanKind.CONSUMER, "orders")
    assert len(seen) == 1


def test_one_trace_leads_from_the_shopper_s_click_over_http_to_the_row_of_the_read_model(
    pair: Pair, spans: InMemorySpanExporter, unregistered: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The monolith has no tracing of its own: it only hands on what the shopper's request brought."""
    from legacy_monolith.accounts.models import User

    monkeypatch.setattr(registry, "_registry", {})
    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
    install_models(OrderSummary)
    browser = Client()
    browser.force_login(User.objects.get(pk=1))
    address = {"street": "1 Way", "city": "Town", "postal_code": "1", "country": "GB"}
    wanted = {"lines": [{"product": 1, "quantity": 1}], "shipping_address": address, "client_reference": "traced"}
    with trace.get_tracer("browser").start_as_current_span("click on buy", kind=SpanKind.CLIENT) as click:
        brought = str(current_traceparent())
    answer = browser.post("/api/orders/", wanted, content_type="application/json", headers={"traceparent": brought})
    assert answer.status_code == 201, answer.content
    settle("orders")
    (row,) = shown("order_summary")["order_summary"]
    assert answer.json()["id"] in row[0]
    found = {span.name: span for span in spans.get_finished_spans()}
    process = found["process order.placed"]
    assert process.kind is SpanKind.CONSUMER
    assert process.context.trace_id == click.get_span_context().trace_id
    assert process.parent is not None
    assert process.parent.span_id == click.get_span_context().span_id


@pytest.fixture
def unregistered() -> Iterator[None]:
    """Handlers of a test do not outlive it."""
    from migration_tools.messaging import handlers

    before = {name: list(value) for name, value in handlers._registry.items()}
    yield
    handlers._registry.clear()
    handlers._registry.update(before)


def test_a_captured_row_carries_the_trace_of_the_request_that_wrote_it(
    stage: Stage, spans: InMemorySpanExporter
) -> None:
    from legacy_monolith.orders.models import Order

    with caused_by(Causality(correlation_id="c1", metadata={"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"})):
        with trace.get_tracer("shop").start_as_current_span("PATCH") as request:
            Order.objects.filter(pk=1).update(note="traced")
        Order.objects.filter(pk=2).update(note="as the request brought it")
    rows = stage.shop.execute(
        "SELECT metadata->>'traceparent' FROM strangle_outbox WHERE correlation_id = 'c1' ORDER BY seq"
    ).fetchall()
    assert rows[0][0].split("-")[1] == f"{request.get_span_context().trace_id:032x}"
    assert rows[1][0].split("-")[1] == "1" * 32


def test_a_failure_leaves_its_type_in_the_span_and_no_value(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="is taken"), consuming("process x", {}, {}):
        raise ValueError("ada@example.com is taken")
    (span,) = spans.get_finished_spans()
    assert (span.status.description, span.events) == ("ValueError", ())
    assert "ada@" not in span.to_json()


def test_without_opentelemetry_nothing_is_imported_and_what_came_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    assert current_traceparent() is None
    with consuming("process x", {}, {}):
        pass
    assert trace_ids({"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}) == {
        "trace_id": "a" * 32,
        "span_id": "b" * 16,
    }
    assert "opentelemetry.trace" not in sys.modules


def test_a_log_line_names_chain_and_trace_and_quotes_no_value(spans: InMemorySpanExporter) -> None:
    log = logging.getLogger("test")
    extra = {"context": "orders", "payload": {"email": "ada@example.com"}}
    chain = Causality(correlation_id="c7", causation_id="e9")
    with caused_by(chain), trace.get_tracer("shop").start_as_current_span("GET") as span:
        try:
            raise ValueError("ada@example.com is taken")
        except ValueError:
            failure = sys.exc_info()
        line = JsonFormatter().format(
            log.makeRecord("test", logging.ERROR, "f", 1, "parked %s", (3,), failure, extra=extra)
        )
    told = json.loads(line)
    assert told["event"] == "parked 3"
    assert (told["context"], told["correlation_id"], told["causation_id"]) == ("orders", "c7", "e9")
    assert told["trace_id"] == f"{span.get_span_context().trace_id:032x}"
    assert told["error"] == "ValueError"
    assert "ada" not in line


def test_a_process_that_is_told_to_logs_json_alone(stage: Stage) -> None:
    env = {**stage.pair.environment(), "STRANGLE_LOG": "json"}
    argv = [sys.executable, "manage.py", "strangle_relay", "orders"]
    with subprocess.Popen(
        argv, cwd=ROOT, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as relay:
        assert relay.stderr is not None
        told = [json.loads(next(relay.stderr))]
        while told[-1]["event"] != "relay orders leads":
            told.append(json.loads(next(relay.stderr)))
        relay.terminate()
        told += [json.loads(line) for line in relay.stderr]
    assert told[0].keys() >= {"time", "level", "logger", "event", "context"}
    assert {each["context"] for each in told if each["logger"].endswith("relay")} == {"orders"}


def test_health_and_metrics_answer_and_metrics_ask_for_their_token(stage: Stage) -> None:
    client = Client()
    assert client.get("/strangle/livez").json() == {"status": "alive"}
    assert client.get("/strangle/readyz").json() == {"status": "ready"}
    stage.shop.execute("DELETE FROM django_migrations WHERE app = 'strangle_state' AND name LIKE '0004%'")
    answer: Any = client.get("/strangle/readyz")
    assert (answer.status_code, answer.json()["missing"][0].split(".")[0]) == (503, "strangle_state")
    assert client.get("/strangle/metrics/").status_code == 404
    with override_settings(MIGRATION_TOOLS={**_raw(), "METRICS_TOKEN": "t" * 16}):
        assert client.get("/strangle/metrics/").status_code == 401
        text = client.get("/strangle/metrics/", headers={"Authorization": "Bearer " + "t" * 16}).content.decode()
    assert 'strangle_fence_blocked_total{context="orders"} 0.0' in text.splitlines()
    assert "strangle_horizon_age_seconds" in text


def test_refused_writes_are_counted_though_their_transactions_are_rolled_back(stage: Stage) -> None:
    import psycopg

    from migration_tools.capture.refusals import refusals

    assert refusals(stage.shop, "orders") == 0
    stage.shop.execute("UPDATE strangle_ownership SET owner = 'target' WHERE context = 'orders'")
    with stage.pair.connect("shop", "shop_app") as leftover:
        for _ in range(3):
            with pytest.raises(psycopg.errors.OperationalError):
                leftover.execute("UPDATE orders_order SET note = 'late' WHERE id = 1")
    assert refusals(stage.shop, "orders") == 3


def _raw() -> dict[str, Any]:
    from django.conf import settings as django_settings

    assert settings().SIDE == "monolith"
    return dict(django_settings.MIGRATION_TOOLS)
