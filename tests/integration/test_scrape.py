"""Both sides scraped over HTTP after a migration to its end: every metric of the page, and none beside it."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from migration_tools.playbook import seconds
from migration_tools.routing.counts import Counts, Observed
from migration_tools.routing.shadow.models import ShadowRoute
from migration_tools.routing.traffic import report_traffic
from migration_tools.state.models import Context
from playbooks.orders import Orders
from tests.conftest import SMALL_SHOP, Pair
from tests.integration.site_rig import MONOLITH, SERVICE, Gunicorn
from tests.integration.test_phases import ROAD, Road
from tests.unit.test_metrics import documented_labels

pytestmark = pytest.mark.thorough

TOKEN = "t" * 20
#: What a small run without a broker, a shadow, a proxy and a failing handler does not make.
MONOLITH_HAS = "INSERT INTO strangle_transport (stream, transport, position) VALUES ('orders', 'kombu', 0)"
SERVICE_HAS = """INSERT INTO strangle_dead_letter_log (stream, position, event_id, event_type, outcome, actor)
    VALUES ('orders', 1, 'x', 'order.paid', 'skipped', 'a')"""


@pytest.fixture
def scraped(pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, str]]:
    """What each side's web process answers once the orders are gone and their old tables follow as copies."""
    monkeypatch.setattr(Orders, "gates", replace(Orders.gates, soak=seconds(0), quiet=seconds(0.2)))
    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
    road = Road(pair)
    with road.processes(), ExitStack() as stack:
        road.go(*ROAD[:5], "strangle_verify", "strangle_decommission --keep-copies")
        road.stage.shop.execute(MONOLITH_HAS)
        road.stage.orders.execute(SERVICE_HAS)
        Context.objects.filter(name="orders").update(move="remove", move_started_at=timezone.now())
        report_traffic(
            "edge", [Observed(context="orders", side="new", counts=Counts(requests=9, errors=1, latencies={}))]
        )
        ShadowRoute.objects.create(context="orders", pattern="/api/orders/", compared=9, different=1)
        answers = {}
        for module, name in ((MONOLITH, "legacy_monolith"), (SERVICE, "extracted_services.orders")):
            # As a role that sees every session, which the horizon's age needs.
            environment = {**pair.environment(user="postgres"), "DJANGO_SETTINGS_MODULE": f"{name}.settings"}
            server = Gunicorn(module, environment | {"STRANGLE_METRICS_TOKEN": TOKEN}, tmp_path / "log")
            stack.callback(server.stop)
            server.start()
            url = f"http://127.0.0.1:{server.port}/strangle/metrics/"
            answer = httpx2.get(url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
            assert answer.status_code == 200, answer.text
            answers[name] = answer.text
        yield answers


def labels_of(text: str) -> dict[str, set[str]]:
    """The labels of each metric that has a value."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_a_scrape_has_every_metric_of_the_page_with_its_labels_and_the_run_s_figures(scraped: dict[str, str]) -> None:
    monolith, service = (labels_of(text) for text in scraped.values())
    assert {**service, **monolith} == documented_labels()
    for both in set(monolith) & set(service):
        assert monolith[both] == service[both], both
    alone = set(monolith) - set(service)
    assert {"strangle_phase", "strangle_route_requests_total", "strangle_copies_kept"} <= alone, "the monolith's alone"
    assert {"strangle_inbox_position", "strangle_backfill_rows_total"} <= set(service)
    figures = [values_of(text) for text in scraped.values()]
    assert figures[0]["strangle_phase", "orders", "decommission"] == 1
    assert figures[0]["strangle_copies_kept", "orders"] == 1
    assert 0 < figures[0]["strangle_cutover_pause_seconds", "orders"] < 30
    assert figures[0]["strangle_route_requests_total", "orders", "error", "service"] == 1
    copied = {key[2]: value for key, value in figures[1].items() if key[0] == "strangle_backfill_rows_total"}
    assert sum(copied.values()) > 300, copied
    assert figures[1]["strangle_events_applied_total", "skipped", "orders"] == 1


def values_of(text: str) -> dict[tuple[str, ...], float]:
    """Every value by its metric and the values of its labels, in the order of these labels' names."""
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    return {(each.name, *each.labels.values()): each.value for each in samples}
