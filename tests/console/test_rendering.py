"""Pages without a browser: before anything was done, for a context nobody declared, with broken parameters."""

import re
from typing import Any

import pytest
from django.test import Client

from migration_tools.overview.observing import keep, observe
from migration_tools.state.models import Observation
from playbooks.orders import Orders
from tests.conftest import ROOT, Pair
from tests.console.scene import MOVER, PASSWORD, make_staff
from tests.console.test_pages import PAGES


@pytest.fixture
def staff(pair: Pair) -> Client:
    make_staff()
    client = Client()
    assert client.login(username=MOVER, password=PASSWORD)
    return client


def test_every_page_can_be_read_before_the_first_move_observed_or_not(staff: Client) -> None:
    pages = [path for name, path in PAGES.items() if "{last}" not in path]
    for path in pages:
        assert staff.get(path).status_code == 200, path
    keep(observe(Orders))
    for path in pages:
        answer: Any = staff.get(path)
        assert answer.status_code == 200, path
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "<script>" not in answer.content.decode()
        assert "style=" not in answer.content.decode()
    assert "the context would" not in staff.get(PAGES["overview"]).content.decode()
    assert staff.get("/strangle/console/nothing/").status_code == 404
    assert staff.get(PAGES["overview"] + "ask/explode/").status_code == 404
    assert staff.get(PAGES["overview"] + "verifications/7/").status_code == 404
    refused = staff.post(PAGES["overview"] + "ask/back/", {"phrase": "roll back orders"})
    assert (refused.status_code, "nothing to roll back" in refused.content.decode()) == (422, True)
    partial = staff.get(PAGES["overview"], headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in partial
    assert "What it does" not in partial


def test_a_copy_that_waits_says_why_and_how_long_it_will_take(staff: Client) -> None:
    keep(observe(Orders))
    row = Observation.objects.get(context="orders")
    row.document["copied"] |= {
        "begun": True, "percent": 41.5, "rows": 415, "total": 1000, "rate": 10.0, "eta_seconds": 58,
        "holding": "the consumer is 12 s behind; limit 5 s",
    }  # fmt: skip
    row.save()
    page = staff.get(PAGES["overview"]).content.decode()
    assert "415 of 1,000 rows, 10/s, 58 s left" in page
    assert "Throttled: the consumer is 12 s behind; limit 5 s" in page


def test_the_page_says_what_the_admin_shows_and_where_the_rest_is_seen() -> None:
    from django.apps import apps
    from django.contrib import admin

    _, _, part = (ROOT / "docs" / "how-to" / "console.md").read_text().partition("## In Django's admin")
    said = set(re.findall(r"`((?:strangle|saga)_\w+)`", part.partition("\n## ")[0]))
    tables = {each for each in apps.get_models() if each.__module__.startswith("migration_tools.")}
    shown = {each._meta.db_table for each in tables if admin.site.is_registered(each)}
    composite = {each._meta.db_table for each in tables if each._meta.is_composite_pk}
    assert said & {each._meta.db_table for each in tables} == shown | composite


def test_the_admin_shows_its_tables_and_changes_none(pair: Pair) -> None:
    from django.contrib import admin
    from django.contrib.auth import get_user_model

    from migration_tools.messaging.models import CopyLease
    from migration_tools.messaging.read_only import ReadOnlyAdmin
    from migration_tools.state.journal import record
    from migration_tools.state.models import VerificationRun, VerifiedRange

    users: Any = get_user_model().objects
    users.create_superuser("root@example.com", PASSWORD)
    client = Client()
    assert client.login(username="root@example.com", password=PASSWORD)
    with pair.connect("shop") as conn:
        conn.execute(
            """INSERT INTO strangle_outbox (stream, kind, event_id, event_type, payload, metadata)
               VALUES ('orders', 'e', gen_random_uuid(), 'order.placed', '{"email": "ada@example.com"}', '{}')"""
        )
    CopyLease.objects.create(stream="orders", projection="sales_order", upto=["41"], position=7, snapshot="x")
    run = VerificationRun.objects.create(context="orders", direction="out", declaration="")
    VerifiedRange.objects.create(run=run, way="out", table="sales_order", number=1, upto=[41], position=7, result={})
    record("orders", "to dual_write", "started", {"tables": ["orders_order"]}, "first")
    ours = [model for model, page in admin.site._registry.items() if isinstance(page, ReadOnlyAdmin)]
    assert {model.__name__ for model in ours} >= {"Outbox", "Inbox", "DeadLetter", "JournalEntry", "Verification"}
    toolkit = {model for model in admin.site._registry if model.__module__.startswith("migration_tools.")}
    assert toolkit == set(ours), "a table of ours has no other page"
    assert {model.__name__ for model in ours if model.objects.exists()} >= {"Outbox", "CopyLease", "VerifiedRange"}
    for model in ours:
        base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        assert client.get(base).status_code == 200, model
        assert client.get(base + "add/").status_code == 403, model
        assert 'name="action"' not in client.get(base).content.decode(), "nothing can be done to many rows either"
        for row in model.objects.all():
            page = client.get(f"{base}{row.pk}/change/")
            assert page.status_code == 200
            assert "ada@example.com" not in page.content.decode()
            assert client.post(f"{base}{row.pk}/change/", {}).status_code == 403
            assert client.post(f"{base}{row.pk}/delete/", {"post": "yes"}).status_code == 403
