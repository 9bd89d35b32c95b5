"""The conftest above oscar's suite: capture on every table of the test database, and what it caught of each test.

Tests roll back what they write and, with it, what was captured; so captured statements are counted just before. Tests
with real transactions are cleaned up by TRUNCATE, which capture refuses to applications: for that moment this plugin
is the apply path, and leaves the toolkit's own tables as they are.
"""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import TestCase, TransactionTestCase

CAPTURE = os.environ["SUITE_CAPTURE"] == "1"
rows: Counter[str] = Counter()
outcomes: dict[str, str] = {}
why: dict[str, str] = {}
state = {"last": 0, "tables": 0}


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """After Django has made the database: install, and look before anything is undone."""
    if CAPTURE:
        with django_db_blocker.unblock():
            from strangle_capture import capture_everything  # type: ignore[import-not-found]

            state["tables"] = len(capture_everything())
        _look_before_it_is_undone()


def _look_before_it_is_undone() -> None:
    roll_back, tear_down = TestCase._rollback_atomics.__func__, TransactionTestCase._fixture_teardown

    def counted(cls: Any, atomics: Any) -> None:
        count()
        roll_back(cls, atomics)

    def cleaned(self: Any) -> None:
        count()
        names = connection.introspection.django_table_names
        connection.introspection.django_table_names = lambda *args, **options: [
            name for name in names(*args, **options) if not name.startswith("strangle_")
        ]
        with connection.cursor() as cursor:
            cursor.execute("SET strangle.applying = 'patch'")
        try:
            tear_down(self)
        finally:
            connection.introspection.django_table_names = names
            with connection.cursor() as cursor:
                cursor.execute("RESET strangle.applying")

    TestCase._rollback_atomics = classmethod(counted)  # type: ignore[assignment,method-assign]
    TransactionTestCase._fixture_teardown = cleaned  # type: ignore[method-assign]


def count() -> None:
    """Captured statements since the last look; a transaction that is broken already shows nothing."""
    if connection.needs_rollback or not connection.is_usable():
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, count(*), max(seq) FROM strangle_outbox WHERE kind = 't' AND seq > %s GROUP BY 1",
            [state["last"]],
        )
        for table, number, last in cursor.fetchall():
            rows[table] += number
            state["last"] = max(state["last"], last)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test's outcome: that of its call, or the failure around it."""
    if report.when == "call" or report.failed or report.skipped:
        if outcomes.get(report.nodeid) != "failed":
            outcomes[report.nodeid] = report.outcome
        if report.failed:
            why[report.nodeid] = report.longreprtext


def pytest_sessionfinish() -> None:
    """Say it to whoever compares."""
    told = {"outcomes": outcomes, "rows": rows, "tables": state["tables"], "why": why}
    Path(os.environ["SUITE_TOLD"]).write_text(json.dumps(told))
