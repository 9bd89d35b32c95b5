"""The guard and its ratchet: what is new is refused with its remedy, by Django, by import-linter and by PostgreSQL."""

import datetime as dt
import json
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.exceptions import MiddlewareNotUsed
from django.core.management import CommandError, call_command
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from psycopg import sql

from legacy_monolith.accounts.models import User
from legacy_monolith.orders.models import Order, OrderLine
from legacy_monolith.orders.purchase import Item, purchase
from legacy_monolith.reporting.sales import top_customers
from legacy_monolith.testing import make_product
from migration_tools.analysis.baseline import Baseline, Coupling, couplings_of
from migration_tools.analysis.context_file import load_contexts
from migration_tools.analysis.context_map import Exemption
from migration_tools.analysis.guard import Guard, Mode
from migration_tools.analysis.middleware import GuardMiddleware
from migration_tools.analysis.observation import Observer
from migration_tools.analysis.roles import role_of
from migration_tools.analysis.trace import Trace
from migration_tools.analysis.traced import find_traced
from migration_tools.errors import AnalysisError, CouplingRefused
from migration_tools.testing import coupling
from tests.architecture.tree import PACKAGES, ROOT
from tests.conftest import Pair

# As the plugin gives it: the toolkit is not installed where its own tests run.
context_guard = coupling.context_guard
REPORT = "legacy_monolith.reporting.sales.top_customers"


@contextmanager
def guarding(baseline: Baseline, mode: Mode = Mode.RAISE, *exemptions: Exemption) -> Iterator[Guard]:
    contexts = load_contexts()
    contexts.exemptions = exemptions
    guard = Guard(contexts, baseline, mode)
    observer = Observer(contexts, [guard])
    observer.install()
    try:
        yield guard
    finally:
        observer.uninstall()


def accepted(*work: Any) -> Baseline:
    """A baseline of what some work couples."""
    trace = Trace(load_contexts())
    observer = Observer(trace.contexts, [trace])
    observer.install()
    try:
        for each in work:
            each()
    finally:
        observer.uninstall()
    return Baseline(frozenset(couplings_of(find_traced(trace))))


def buy() -> Order:
    number = User.objects.count()
    user = User.objects.create_user(f"ada{number}@example.com", "long enough", first_name="Ada", last_name="L")
    return purchase(user, [Item(product_id=make_product().pk, quantity=1)])


@pytest.mark.django_db
def test_what_is_in_the_baseline_passes_and_a_new_join_is_refused_with_its_remedy() -> None:
    baseline = accepted(buy)
    with guarding(baseline) as guard:
        buy()
        with pytest.raises(CouplingRefused) as refused:
            top_customers(3)
    said = str(refused.value)
    assert "SFA201" in said
    assert re.search(r"legacy_monolith/reporting/sales\.py:\d+", said)
    assert "keep a read model filled by events" in said
    assert "[[exemptions]] in contexts.toml with rule = 'SFA201', function = 'legacy_monolith.reporting" in said
    assert [coupling.function for coupling in guard.met] == [REPORT]


@pytest.mark.django_db(transaction=True)
def test_a_new_transaction_over_two_contexts_is_refused_before_its_second_write_and_rolled_back() -> None:
    signal = Coupling(
        rule="SFA203", function="legacy_monolith.orders.signals.remember_last_order", tables=("accounts_user",)
    )
    with guarding(Baseline(frozenset({signal}))), pytest.raises(CouplingRefused) as refused:
        buy()
    assert re.search(r"SFA202 .*purchase\.py:\d+.*orders_order in one transaction; make it a saga", str(refused.value))
    assert Order.objects.count() == OrderLine.objects.count() == 0


@pytest.mark.django_db
def test_a_transaction_of_the_baseline_that_begins_to_write_another_table_is_new() -> None:
    baseline = accepted(buy)
    (known,) = [each for each in baseline.couplings if each.rule == "SFA202"]
    smaller = Coupling(
        rule="SFA202", function=known.function, tables=tuple(sorted({*known.tables} - {"payments_payment"}))
    )
    with guarding(Baseline(baseline.couplings - {known} | {smaller})), pytest.raises(CouplingRefused, match="SFA202"):
        buy()


@pytest.mark.django_db
def test_a_foreign_write_is_refused_where_only_its_transaction_is_accepted() -> None:
    baseline = accepted(buy)
    writer = next(each for each in baseline.couplings if each.rule == "SFA203")
    assert writer.function == "legacy_monolith.orders.signals.remember_last_order"
    with guarding(Baseline(baseline.couplings - {writer})), pytest.raises(CouplingRefused, match="SFA203"):
        buy()


@pytest.mark.django_db
def test_logging_lets_it_pass_and_says_it_once(caplog: pytest.LogCaptureFixture) -> None:
    with guarding(Baseline(), Mode.LOG), caplog.at_level(logging.WARNING, logger="strangle.guard"):
        assert top_customers(3) == top_customers(3) == []
    assert [record.__dict__["rule"] for record in caplog.records] == ["SFA201"]


@pytest.mark.django_db
def test_an_exemption_holds_until_its_day() -> None:
    today = dt.datetime.now(tz=dt.UTC).date()
    exemption = Exemption(rule="SFA201", function=REPORT, issue="https://issues.example/7", expires=today)
    with guarding(Baseline(), Mode.RAISE, exemption):
        top_customers(3)
    over = Exemption(rule="SFA201", function=REPORT, issue="https://issues.example/7", expires=today - dt.timedelta(1))
    with (
        guarding(Baseline(), Mode.RAISE, over),
        pytest.raises(CouplingRefused, match=r"\(https://issues.example/7\) ended"),
    ):
        top_customers(3)
    for other in (replace(exemption, rule="SFA203"), replace(exemption, function=f"{REPORT}_of_another_day")):
        with guarding(Baseline(), Mode.RAISE, other), pytest.raises(CouplingRefused) as refused:
            top_customers(3)
        assert "ended on" not in str(refused.value), "it is of something else"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('rule = "SFA201"\nfunction = "f"\nexpires = 2027-01-31', "must have expires, function, issue, rule"),
        ('rule = "SFA201"\nfunction = "f"\nexpires = 2027-01-31\nissue = "later"', "must be the URL of the issue"),
        ('rule = "SFA201"\nfunction = "f"\nexpires = "never"\nissue = "https://x/1"', "write a day, like 2027-01-31"),
        ('rule = "SFA999"\nfunction = "f"\nexpires = 2027-01-31\nissue = "https://x/1"', "names rule 'SFA999'"),
    ],
)
def test_an_exemption_needs_an_issue_and_a_day(lines: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "contexts.toml"
    path.write_text((ROOT / "legacy_monolith" / "contexts.toml").read_text() + f"\n[[exemptions]]\n{lines}\n")
    with pytest.raises(AnalysisError, match=re.escape(says)):
        load_contexts(path)


def test_the_middleware_is_not_used_when_off_and_guards_when_not(tmp_path: Path) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    with pytest.raises(MiddlewareNotUsed):
        GuardMiddleware(view)
    with override_settings(MIGRATION_TOOLS={"GUARD": "raise", "GUARD_BASELINE": str(tmp_path / "none.json")}):
        middleware = GuardMiddleware(view)
    try:
        assert middleware.guard.mode is Mode.RAISE
        assert middleware(HttpRequest()).status_code == 200  # type: ignore[union-attr]
    finally:
        middleware.observer.uninstall()


def command(*args: str, **options: Any) -> str:
    out = StringIO()
    call_command("strangle_guard", *args, stdout=out, **options)
    return out.getvalue()


@pytest.mark.django_db
def test_the_baseline_may_shrink_and_grows_only_when_told_to(tmp_path: Path) -> None:
    def trace(name: str, *work: Any) -> str:
        made = Trace(load_contexts())
        observer = Observer(made.contexts, [made])
        observer.install()
        try:
            for each in work:
                each()
        finally:
            observer.uninstall()
        made.save(tmp_path / name)
        return str(tmp_path / name)

    one, both = trace("one.json", buy), trace("both.json", buy, lambda: top_customers(3))
    shop = str(ROOT / "legacy_monolith" / "contexts.toml")
    with override_settings(MIGRATION_TOOLS={"GUARD_BASELINE": str(tmp_path / "baseline.json"), "CONTEXTS": shop}):
        assert "2 couplings are accepted" in command("baseline", "--trace", one)
        assert "0 of them new; 0 of the baseline are gone" in command("check", "--trace", one)
        for action in ("check", "baseline"):
            with pytest.raises(CommandError) as refused:
                command(action, "--trace", both)
            assert refused.value.returncode == 3
        assert "0 of them new" in command("check", "--trace", one)
        command("baseline", "--trace", both, accept=True)
        told = json.loads(command("check", "--trace", one, "--format", "json"))
        join = f"SFA201 {REPORT} (accounts_user, orders_order, payments_payment)"
        assert (told["gone"], told["exempt"]) == ([join], [])
        assert "1 are gone" in command("baseline", "--trace", one)
    exempt = '[[exemptions]]\nrule = "SFA201"\nfunction = "{}"\nissue = "https://issues.example/7"\nexpires = {}\n'
    (tmp_path / "contexts.toml").write_text(Path(shop).read_text() + exempt.format(REPORT, "2999-01-31"))
    given = {"GUARD_BASELINE": str(tmp_path / "baseline.json"), "CONTEXTS": str(tmp_path / "contexts.toml")}
    with override_settings(MIGRATION_TOOLS=given):
        told = json.loads(command("check", "--trace", both, "--format", "json"))
        assert (told["new"], told["exempt"], told["exit_code"]) == ([], [join], 0)
        for _ in range(2):  # what is exempt does not come into the baseline, where it had no end
            assert "2 couplings are accepted in baseline.json, 0 are gone; 1 exempt" in command(
                "baseline", "--trace", both
            )
        (tmp_path / "contexts.toml").write_text(Path(shop).read_text() + exempt.format(REPORT, "2026-01-31"))
        said = StringIO()
        with pytest.raises(CommandError, match="1 couplings are new"):
            call_command("strangle_guard", "check", "--trace", both, stdout=said)
        assert "its exemption (https://issues.example/7) ended on 2026-01-31" in said.getvalue()
    with pytest.raises(CommandError, match="give --trace"):
        command("check")


@pytest.mark.thorough
def test_a_planted_import_fails_the_generated_contracts(tmp_path: Path) -> None:
    for package in PACKAGES:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignore)
    (tmp_path / "contexts.ini").write_text(command("contracts"))

    def lint() -> subprocess.CompletedProcess[str]:
        program = str(Path(sys.executable).with_name("lint-imports"))
        arguments = [program, "--no-cache", "--config", "contexts.ini"]
        return subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)

    kept = lint()
    assert kept.returncode == 0, kept.stdout + kept.stderr
    assert "catalog imports no other context KEPT" in " ".join(kept.stdout.split())
    planted = tmp_path / "legacy_monolith" / "catalog" / "planted.py"
    planted.write_text("from legacy_monolith.orders.models import Order\n")
    broken = lint()
    assert broken.returncode == 1
    assert "catalog imports no other context BROKEN" in " ".join(broken.stdout.split())
    planted.unlink()
    signals = tmp_path / "legacy_monolith" / "orders" / "signals.py"
    signals.write_text(
        signals.read_text().replace("from legacy_monolith.accounts.models import User\n", "User = None\n")
    )
    assert "No matches for ignored import" in lint().stdout.replace("\n", " ")


def test_a_write_with_the_role_of_another_context_is_refused_by_postgresql(pair: Pair) -> None:
    contexts = load_contexts()
    prefix = f"{pair.shop}_"
    with pair.connect("shop") as conn:
        for statement in command("roles", "--prefix", prefix).split(";\n"):
            conn.execute(statement.encode())
        assert "statements were run" in command("roles", "--prefix", prefix, "--apply")  # again, nothing changes
    names = [each.name for each in contexts.candidates]
    tried = {}
    try:
        for writer in names:
            for owner in names:
                tried[writer, owner] = may_write(pair, role_of(writer, prefix), contexts.contexts[owner].tables[0])
        assert tried == {(writer, owner): writer == owner for writer in names for owner in names}
        with pair.connect("shop") as conn, conn.transaction():
            conn.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role_of("catalog", prefix))))
            conn.execute("INSERT INTO catalog_category (name) VALUES ('by its own role, with its sequence')")
            conn.execute("SELECT count(*) FROM orders_order")
    finally:
        with pair.connect("shop") as conn:
            for name in names:
                role = sql.Identifier(role_of(name, prefix))
                conn.execute(sql.SQL("DROP OWNED BY {}").format(role))
                conn.execute(sql.SQL("DROP ROLE {}").format(role))


def may_write(pair: Pair, role: str, table: str) -> bool:
    with pair.connect("shop") as conn, conn.transaction(force_rollback=True):
        conn.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        try:
            with conn.transaction():
                conn.execute(sql.SQL("DELETE FROM {} WHERE false").format(sql.Identifier(table)))
        except psycopg.errors.InsufficientPrivilege:
            return False
        return True


@pytest.mark.django_db
def test_the_fixture_refuses_within_one_test(context_guard: Guard) -> None:
    with pytest.raises(CouplingRefused), transaction.atomic():
        top_customers(1)
    assert context_guard.refusals == 1
