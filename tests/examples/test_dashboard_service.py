"""The dashboard service as its users meet it: their own orders, how old they are, and no other service asked."""

import os
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx2
import psycopg
import pytest
import schemathesis
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connections, transaction
from hypothesis import HealthCheck, given, settings
from psycopg import sql
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from extracted_services.dashboard import read_models as dashboard
from extracted_services.dashboard.serializers import OrderSummarySerializer
from migration_tools.messaging import handlers
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handling import handle
from migration_tools.projections import registry, screens
from migration_tools.projections.registry import register
from migration_tools.testing.brokers import EmbeddedRedis
from migration_tools.testing.deliveries import sample
from migration_tools.testing.postgres import grant_side, provision
from tests import identity_rig
from tests.conftest import ROOT, Cluster
from tests.read_model_rig import MODELS

SETTINGS = "extracted_services.dashboard.settings"
# A generated identity is always replaced by a good one, and which orders exist the document cannot say.
UNDECIDABLE = [positive_data_acceptance, negative_data_rejection]
ORDER = "00000000-0000-0000-0000-00000000000a"
OTHERS = "00000000-0000-0000-0000-00000000000b"
Client = Callable[[int], httpx2.Client]


@pytest.fixture(scope="module")
def url(cluster: Cluster, django_db_blocker: Any) -> Iterator[str]:
    """The service by gunicorn as dashboard_app, filled with two customers' orders; nothing else answers it."""
    name = f"dashboard_{os.urandom(4).hex()}"
    provision(cluster, ("dashboard",))  # type: ignore[arg-type]
    with psycopg.connect(cluster.dsn(), autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {} OWNER dashboard_owner").format(sql.Identifier(name)))
    grant_side(cluster, name, "dashboard")  # type: ignore[arg-type]
    env = {
        **os.environ, "DASHBOARD_DB_HOST": "127.0.0.1", "DASHBOARD_DB_PORT": str(cluster.port),
        "DASHBOARD_DB_NAME": name, "DASHBOARD_DB_PASSWORD": cluster.password, "DASHBOARD_DB_USER": "dashboard_owner",
        "DJANGO_SETTINGS_MODULE": SETTINGS, "STRANGLE_IDENTITY_JWKS": identity_rig.jwks(), "STRANGLE_IDENTITY_URL": "",
        "MONOLITH_ADDRESS": "127.0.0.1:1",
    }  # fmt: skip
    manage(env, "migrate", "-v0")
    manage(env, "makemigrations", "--check", "--dry-run", "dashboard_service")
    before = dict(connections["default"].settings_dict)
    with pytest.MonkeyPatch.context() as patch, django_db_blocker.unblock():
        patch.setattr(handlers, "_registry", {})
        patch.setattr(registry, "_registry", {})
        connections["default"].close()
        connections["default"].settings_dict.update(
            NAME=name, PORT=str(cluster.port), USER="dashboard_owner", PASSWORD=cluster.password
        )
        for kind in (*MODELS, dashboard.Statement):
            register(kind())
        try:
            apply(*EVENTS)
            with (
                EmbeddedRedis() as redis,
                served({**env, "DASHBOARD_DB_USER": "dashboard_app", "DASHBOARD_STORE_URL": redis.url}) as address,
            ):
                yield address
        finally:
            connections["default"].close()
            connections["default"].settings_dict.update(before)
    with psycopg.connect(cluster.dsn(), autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def manage(env: dict[str, str], *args: str) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", *args, "--settings", SETTINGS],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


class served:
    """Gunicorn on a socket that listens before it starts."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env

    def __enter__(self) -> str:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "extracted_services.dashboard.wsgi", "--threads", "4",
             "--bind", f"fd://{self.listener.fileno()}", "--no-control-socket"],
            cwd=ROOT, env=self.env, pass_fds=[self.listener.fileno()],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def __exit__(self, *error: object) -> None:
        self.server.terminate()
        self.server.wait(timeout=30)
        self.listener.close()


def placed(order: str, customer: int, position: int) -> Envelope:
    said = {"order_id": 1, "public_id": order, "user_id": customer, "total": "12.30", "currency": "EUR"}
    lines = [{"product": 5, "quantity": 2}]
    return sample(
        "order.placed", {**said, "lines": lines}, stream="orders", aggregate_type="order", aggregate_id=order,
        position=position,
    )  # fmt: skip


def renamed(name: str, position: int) -> Envelope:
    said: dict[str, object] = {"user_id": 7, "name": name}
    return sample("user.renamed", said, stream="users", aggregate_type="user", aggregate_id=7, position=position)


EVENTS = (placed(ORDER, 7, 1), placed(OTHERS, 8, 2), renamed("Ada Lovelace", 1))


def apply(*events: Envelope) -> None:
    with transaction.atomic():
        for event in events:
            handle(event, dashboard.GROUP)


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    """Clients by customer."""
    opened: list[httpx2.Client] = []

    def log_in(customer: int) -> httpx2.Client:
        cookies = {
            "sx_identity": identity_rig.token(customer, "Ada Lovelace", audience=("dashboard",)),
            "sessionid": identity_rig.SESSION,
        }
        opened.append(httpx2.Client(base_url=url, cookies=cookies, timeout=30))
        return opened[-1]

    yield log_in
    for each in opened:
        each.close()


def test_a_customer_sees_their_own_orders_in_every_view_and_nobody_elses(client: Client) -> None:
    ada = client(7)
    [summary] = ada.get("/api/dashboard/orders/").json()
    assert (summary["order_id"], summary["customer_name"], summary["total_amount"]) == (ORDER, "Ada Lovelace", "12.30")
    details = ada.get(f"/api/dashboard/orders/{ORDER}/").json()
    assert details["items"] == [{"product": 5, "sku": "", "name": "", "quantity": 2}]
    whole = ada.get("/api/dashboard/").json()
    assert (whole["orders_count"], whole["orders"][0]["total"]) == (1, "12.30")
    assert [each["what"] for each in ada.get("/api/feed/").json()] == ["placed"]
    assert ada.get(f"/api/dashboard/orders/{OTHERS}/").status_code == 404
    assert client(9).get("/api/dashboard/").json()["orders"] == []
    assert httpx2.get(f"{ada.base_url}/api/feed/").status_code == 401


def entry(kind: str, version: int, amount: str, payer: int = 7) -> Envelope:
    account = str(uuid.uuid5(uuid.NAMESPACE_OID, str(payer)))
    said = {"payer": payer, "amount": amount, "aggregate_id": account, "aggregate_version": version}
    order = {} if kind == "carried" else {"order": version}
    return sample(
        f"payer_account.{kind}", said | order, stream="payments", aggregate_type="payer_account", aggregate_id=account,
        position=version,
    )  # fmt: skip


def test_a_statement_is_the_sum_of_its_entries_in_whatever_order_and_however_often_they_come(client: Client) -> None:
    entries = [entry("carried", 2, "1000.00"), entry("refunded", 3, "200.00"), entry("captured", 4, "500.00")]
    apply(entries[2], entry("captured", 2, "9.00", payer=8), entries[0], entries[2], entries[1], entries[0])
    found = client(7).get("/api/dashboard/statement/").json()
    assert (found["balance"], len(found["entries"])) == ("1300.00", 3)
    assert {(each["number"], each["what"], each["amount"]) for each in found["entries"]} == {
        (2, "carried", "1000.00"),
        (3, "refunded", "-200.00"),
        (4, "captured", "500.00"),
    }
    assert client(9).get("/api/dashboard/statement/").json() == {"customer_id": 9, "balance": "0.00", "entries": []}


def test_an_answer_says_as_of_when_and_waits_for_the_callers_own_write(client: Client) -> None:
    ada = client(7)
    answer = ada.get("/api/dashboard/orders/")
    assert answer.headers["X-As-Of"].startswith("orders=0@")
    late = ada.get("/api/dashboard/orders/", headers={"X-Read-After": "nobody-did-this"})
    assert late.headers["X-Read-After"] == "late"
    found: list[httpx2.Response] = []
    read = threading.Thread(
        target=lambda: found.append(ada.get("/api/dashboard/orders/", headers={"X-Read-After": "my-command"}))
    )
    read.start()
    apply(replace(renamed("Countess of Lovelace", 2), correlation_id="my-command"))
    read.join()
    assert found[0].headers["X-Read-After"] == "shown"
    assert found[0].json()[0]["customer_name"] == "Countess of Lovelace"


def test_the_role_of_the_web_process_reads_the_views(url: str, cluster: Cluster) -> None:
    name = connections["default"].settings_dict["NAME"]
    with psycopg.connect(cluster.dsn(name, "dashboard_app"), autocommit=True) as conn:
        assert conn.execute("SELECT count(*) FROM order_summary").fetchone() == (2,)
        for table in ("order_summary_s1", "order_summary"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(f"UPDATE {table} SET status = 'paid'")


@pytest.mark.parametrize(
    "path",
    [
        "/api/dashboard/",
        "/api/dashboard/orders/",
        "/api/dashboard/orders/{order_id}/",
        "/api/dashboard/orders/{order_id}/status/",
        "/api/dashboard/statement/",
        "/api/feed/",
    ],
)
def test_every_answer_to_generated_requests_is_one_the_document_declares(client: Client, path: str) -> None:
    ada = client(7)
    operation = schemathesis.openapi.from_url(f"{ada.base_url}/api/schema/")[path]["GET"]

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy())
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(cookies=dict(ada.cookies), headers={"X-Read-After": ""}, excluded_checks=UNDECIDABLE)

    check()


def test_a_serializer_that_parts_from_its_view_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(screens.find_differences()) == []
    fields = dict(OrderSummarySerializer._declared_fields)
    fields["totl"] = fields.pop("total_amount")
    monkeypatch.setattr(OrderSummarySerializer, "_declared_fields", fields)
    said = [text for _, text in screens.find_differences()]
    assert said == [
        "OrderSummarySerializer lacks the column 'total_amount' of 'order_summary'",
        "OrderSummarySerializer has the field 'totl', which 'order_summary' has no column for",
    ]
    with pytest.raises(SystemCheckError, match=r"strangle\.E092"):
        call_command("check", "--tag", "strangle")
