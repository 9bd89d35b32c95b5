"""The guard in front of a site: real requests whose views couple contexts, in each of its modes and past exemptions."""

import datetime as dt
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connection
from django.http import HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.test.utils import CaptureQueriesContext

from legacy_monolith.accounts.models import User
from legacy_monolith.orders.models import Order
from legacy_monolith.testing import make_product
from migration_tools.analysis.baseline import Baseline, Coupling
from migration_tools.analysis.middleware import GuardMiddleware
from tests.architecture.tree import ROOT

REPORT = "/api/reports/top-customers/"
FUNCTION = "legacy_monolith.reporting.sales.top_customers"


class Guarding(GuardMiddleware):
    """The middleware, remembered, so that a test can take it away."""

    made: list[GuardMiddleware] = []

    def __init__(self, get_response: Any):
        super().__init__(get_response)
        self.made.append(self)


@contextmanager
def site(mode: str, contexts: Path = ROOT / "legacy_monolith" / "contexts.toml", **given: Any) -> Iterator[None]:
    """The shop with the guard outermost and an empty baseline."""
    guarding = {"GUARD": mode, "GUARD_BASELINE": "no-baseline.json", "CONTEXTS": str(contexts), **given}
    with override_settings(
        MIDDLEWARE=[f"{__name__}.Guarding", *settings.MIDDLEWARE],
        MIGRATION_TOOLS={**settings.MIGRATION_TOOLS, **guarding},
    ):
        try:
            yield
        finally:
            while Guarding.made:
                Guarding.made.pop().observer.uninstall()


def sync() -> Callable[[], HttpResponse]:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_user("staff@example.com", "long enough", is_staff=True))
    return lambda: client.get(REPORT)


def asynchronous() -> Callable[[], HttpResponse]:
    client = AsyncClient(raise_request_exception=False)
    client.force_login(User.objects.create_user("staff@example.com", "long enough", is_staff=True))
    return lambda: async_to_sync(client.get)(REPORT)


def joins(queries: CaptureQueriesContext) -> int:
    return sum("JOIN payments_payment" in (query["sql"] or "") for query in queries.captured_queries)


@pytest.mark.django_db
@pytest.mark.parametrize("asking", [sync, asynchronous])
@pytest.mark.parametrize(
    ("mode", "status", "sent", "told"), [("off", 200, 2, 0), ("log", 200, 2, 1), ("raise", 500, 0, 2)]
)
def test_a_request_whose_view_joins_contexts_is_let_pass_told_or_refused(
    mode: str, status: int, sent: int, told: int, asking: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with site(mode), CaptureQueriesContext(connection) as queries:
        ask = asking()
        assert [ask().status_code for _ in range(2)] == [status, status]
    assert bool(Guarding.made) is False
    assert joins(queries) == sent
    lines = [
        record.message if record.name == "strangle.guard" else str(record.exc_info[1])
        for record in caplog.records
        if record.name == "strangle.guard" or record.exc_info
    ]
    assert len(lines) == told
    for line in lines:
        assert line.startswith("SFA201 across contexts at legacy_monolith/reporting/sales.py:")
        assert "keep a read model filled by events" in line
        assert f"function = '{FUNCTION}', an issue and a day of expiry" in line


@pytest.mark.django_db(transaction=True)
def test_a_request_whose_transaction_writes_two_contexts_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The foreign write within it is accepted already."""
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_user("ada@example.com", "long enough"))
    lines = [{"product": make_product().pk, "quantity": 1}]

    def buy() -> int:
        return client.post("/api/orders/", {"lines": lines}, content_type="application/json").status_code

    signal = "legacy_monolith.orders.signals.remember_last_order"
    accepted = Coupling(rule="SFA203", function=signal, tables=("accounts_user",))
    Baseline(frozenset({accepted})).save(tmp_path / "baseline.json")
    with site("raise", GUARD_BASELINE=str(tmp_path / "baseline.json")):
        assert buy() == 500
        assert Order.objects.count() == 0
    assert "make it a saga" in str([record.exc_info[1] for record in caplog.records if record.exc_info][-1])
    with caplog.at_level(logging.CRITICAL), site("log"):
        assert buy() == 201
    assert Order.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(("days", "status"), [(0, 200), (-1, 500)])
def test_an_exemption_lets_requests_pass_until_its_day(
    days: int, status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    day = dt.datetime.now(tz=dt.UTC).date() + dt.timedelta(days)
    shop = (ROOT / "legacy_monolith" / "contexts.toml").read_text()
    exempt = f'rule = "SFA201"\nfunction = "{FUNCTION}"\nissue = "https://issues.example/7"\nexpires = {day}\n'
    (tmp_path / "contexts.toml").write_text(f"{shop}\n[[exemptions]]\n{exempt}")
    with site("raise", tmp_path / "contexts.toml"):
        assert sync()().status_code == status
    refused = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert [f"its exemption (https://issues.example/7) ended on {day}" in each for each in refused] == [True] * len(
        refused
    )
    assert bool(refused) is (status == 500)
