"""The analysis on the shop, driven through its own code on a real database: exact counts, places, and the page."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import RequestFactory, override_settings

from legacy_monolith.accounts.models import User
from legacy_monolith.orders.models import Order
from legacy_monolith.orders.purchase import Item, purchase
from legacy_monolith.orders.transitions import cancel
from legacy_monolith.payments.ledger import authorise
from legacy_monolith.reporting.sales import sales_by_category, top_customers
from legacy_monolith.testing import make_product
from migration_tools.analysis.context_file import load_contexts
from migration_tools.analysis.findings import Finding
from migration_tools.analysis.middleware import TraceMiddleware
from migration_tools.analysis.observation import Observer, scope
from migration_tools.analysis.trace import Trace
from migration_tools.analysis.traced import find_traced
from tests.architecture.tree import ROOT
from tests.conftest import Pair

PURCHASE = (
    "accounts_user",
    "inventory_movement",
    "inventory_stock",
    "orders_order",
    "orders_orderline",
    "payments_payment",
)


@contextmanager
def tracing() -> Iterator[Trace]:
    trace = Trace(load_contexts())
    observer = Observer(trace.contexts, [trace])
    observer.install()
    try:
        yield trace
    finally:
        observer.uninstall()


def found(trace: Trace, rule: str) -> list[Finding]:
    return [each for each in find_traced(trace) if each.rule == rule]


def together(trace: Trace) -> dict[str, tuple[tuple[str, ...], int]]:
    """Function → tables it writes in one transaction, and how often."""
    return {each.function.rpartition(".")[2]: (each.tables, each.count) for each in trace.written.values()}


def customer() -> User:
    return User.objects.create_user("ada@example.com", "long enough", first_name="Ada", last_name="Lovelace")


MODES = [
    pytest.param("savepoints", marks=pytest.mark.django_db),
    pytest.param("transactions", marks=pytest.mark.django_db(transaction=True)),
]


@pytest.mark.parametrize("mode", MODES)
def test_transactions_are_told_apart_in_a_test_as_in_production(mode: str) -> None:
    user, product = customer(), make_product()
    with tracing() as trace:
        order = purchase(user, [Item(product_id=product.pk, quantity=1)])
        cancel(user, order.public_id)
        cancel(user, order.public_id)  # changes nothing, so writes nothing
        purchase(user, [Item(product_id=product.pk, quantity=1)])
        authorise(order.pk, order.total)  # one table, in a transaction of its own
        Order.objects.filter(pk=order.pk).update(note="by itself")
    assert together(trace) == {
        "purchase": (PURCHASE, 2),
        "cancel": (("inventory_movement", "inventory_stock", "orders_order", "payments_payment"), 1),
    }
    places = {str(each.place).rpartition(":")[0] for each in found(trace, "SFA202")}
    assert places == {f"legacy_monolith/orders/{name}.py" for name in ("purchase", "transitions")}
    assert {each.source for each in found(trace, "SFA202")} == {"orders"}


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_is_rolled_back_does_not_run_into_the_next() -> None:
    user, product = customer(), make_product()
    with tracing() as trace:
        with transaction.atomic():
            user.save()
            transaction.set_rollback(True)
        with transaction.atomic():
            product.save()
    assert trace.written == {}


@pytest.mark.django_db
def test_joins_foreign_writers_and_loops_have_their_line_and_their_contexts() -> None:
    user, product = customer(), make_product()
    with tracing() as trace, scope("GET /reports"):
        purchase(user, [Item(product_id=product.pk, quantity=1)])
        sales_by_category(2026)
        top_customers(3)
    joins = {(each.source, each.target): each for each in found(trace, "SFA201")}
    assert set(joins) == {("reporting", name) for name in ("accounts", "catalog", "orders", "payments")}
    report = joins["reporting", "catalog"]
    assert report.place.file == "legacy_monolith/reporting/sales.py"
    assert "for row in rows" in (ROOT / report.place.file).read_text().splitlines()[report.place.line - 1]
    assert ["catalog_product.id", "orders_orderline.product_id"] in report.detail["on"]
    (writer,) = found(trace, "SFA203")
    assert (writer.source, writer.target, writer.tables) == ("orders", "accounts", ("accounts_user",))
    assert writer.message.startswith("legacy_monolith.orders.signals.remember_last_order writes")


@pytest.mark.django_db
def test_statements_in_a_loop_are_calls_after_the_cut() -> None:
    """The code is planted in the module of orders, so that the statements are that context's."""
    user, products = customer(), [make_product() for _ in range(6)]
    order = purchase(user, [Item(product_id=each.pk, quantity=1) for each in products])
    planted: dict[str, Any] = {"__name__": "legacy_monolith.orders.planted"}
    exec(  # noqa: S102
        compile(
            "def names(order):\n    return [line.product.name for line in order.lines.all()]",
            str(ROOT / "legacy_monolith" / "orders" / "planted.py"),
            "exec",
        ),
        planted,
    )
    with tracing() as trace:
        with scope("GET /one"):
            planted["names"](order)
        assert [each.detail["most"] for each in found(trace, "SFA204")] == [6]
        with scope("GET /two"):
            planted["names"](order)
    (loop,) = found(trace, "SFA204")
    assert (loop.source, loop.target, loop.detail["most"], loop.weight) == ("orders", "catalog", 6, 12)
    assert str(loop.place) == "legacy_monolith/orders/planted.py:2"


@pytest.mark.django_db
def test_traces_of_several_processes_and_the_middleware_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_exit: list[Callable[[], None]] = []
    monkeypatch.setattr("atexit.register", at_exit.append)
    user, product = customer(), make_product()
    with override_settings(MIGRATION_TOOLS={"TRACES": str(tmp_path), "CONTEXTS": "legacy_monolith/contexts.toml"}):

        def view(request: Any) -> HttpResponse:
            purchase(user, [Item(product_id=product.pk, quantity=1)])
            return HttpResponse()

        middleware = TraceMiddleware(view)
        try:
            middleware(RequestFactory().post("/buy"))
            middleware(RequestFactory().post("/buy"))  # too soon after the first to be saved
        finally:
            middleware.observer.uninstall()
        (written,) = tmp_path.iterdir()
        another = tmp_path / "another.json"
        another.write_text(written.read_text())
        assert together(Trace.read([another], load_contexts()))["purchase"] == (PURCHASE, 1)
        for registered in at_exit:
            registered()
        trace = Trace.read([tmp_path], load_contexts())
    assert together(trace)["purchase"] == (PURCHASE, 1 + 2)
    assert max(each.most for each in trace.sent.values()) == 1


@pytest.mark.django_db
def test_threads_and_late_connections_are_observed_too() -> None:
    with tracing() as trace:

        def ask() -> None:
            planted: dict[str, Any] = {"__name__": "legacy_monolith.orders.planted", "Order": Order}
            exec("def count():\n    return Order.objects.count()", planted)  # noqa: S102
            planted["count"]()
            connection.close()

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert [each.function for each in trace.sent.values()] == ["legacy_monolith.orders.planted.count"]


def run(*args: str, **options: Any) -> str:
    out = StringIO()
    call_command("strangle_analyze", *args, stdout=out, **options)
    return out.getvalue()


@pytest.mark.django_db
def test_impact_names_readers_and_writers_of_a_column_by_context(tmp_path: Path) -> None:
    user, product = customer(), make_product()
    with tracing() as trace:
        order = purchase(user, [Item(product_id=product.pk, quantity=1)])
        cancel(user, order.public_id)
        top_customers(3)
    trace.save(tmp_path / "trace.json")
    told = json.loads(run("--impact", "orders.Order.status", "--trace", str(tmp_path), "--format", "json"))
    uses = {(use["context"], use["how"], use["what"]) for use in told["uses"] if use["count"]}
    assert ("reporting", "read", "legacy_monolith.reporting.sales.top_customers") in uses
    assert ("orders", "write", "legacy_monolith.orders.transitions.cancel") in uses
    assert told["owner"] == "orders"
    mentions = {(use["context"], use["place"]["file"]) for use in told["uses"] if use["how"] == "mention"}
    assert ("reporting", "legacy_monolith/reporting/sales.py") in mentions
    assert not any(context == "catalog" for context, _, _ in uses)
    with pytest.raises(CommandError, match="names no field"):
        run("--impact", "orders.Order.stauts")


@pytest.mark.parametrize(
    ("option", "what"),
    [("--impact", "orders.Order.status"), ("--split", "accounts.User"), ("--call-sites", "orders")],
)
def test_the_answer_to_one_question_in_a_form_it_has_not_is_refused(option: str, what: str) -> None:
    with pytest.raises(CommandError, match=f"{option} answers in text or json, not in 'html'; choose one of the two"):
        run(option, what, "--format", "html")


def test_capacity_is_what_the_database_counted_between_two_reports(pair: Pair, tmp_path: Path) -> None:
    def report(*args: str) -> dict[str, Any]:
        with pair.connect("shop") as conn:
            conn.execute("SELECT pg_stat_clear_snapshot()")
        return dict(json.loads(run("--format", "json", *args)))

    def settle(inserted: int) -> None:
        with pair.connect("shop") as conn:
            counted = conn.execute("SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'catalog_category'")
            assert counted.fetchone() == (inserted,)

    with pair.connect("shop") as conn:
        conn.execute("INSERT INTO catalog_category (name) SELECT 'before ' || n FROM generate_series(1, 5) n")
        conn.execute("SELECT pg_stat_force_next_flush()")
    settle(5)
    earlier = tmp_path / "earlier.json"
    earlier.write_text(json.dumps(report()))
    with pair.connect("shop") as conn:
        conn.execute("INSERT INTO catalog_category (name) SELECT 'after ' || n FROM generate_series(1, 40) n")
        conn.execute("UPDATE catalog_category SET name = name || '!' WHERE name LIKE 'after%'")
        conn.execute("DELETE FROM catalog_category WHERE name LIKE 'before%'")
        conn.execute("SELECT pg_stat_force_next_flush()")
    settle(45)
    later = report("--since", str(earlier))
    table = next(each for each in later["tables"] if each["name"] == "catalog_category")
    assert (table["inserted"], table["updated"], table["deleted"]) == (40, 40, 5)
    catalog = next(each for each in later["contexts"] if each["name"] == "catalog")
    assert catalog["written"] == 85
    assert catalog["writes_per_second"] == pytest.approx(85 / later["seconds"], rel=0.01)
    assert catalog["bytes"] > 0


@pytest.mark.django_db
def test_the_plan_says_what_each_cut_builds_and_begins_with_the_cheapest_that_may_leave(tmp_path: Path) -> None:
    user, product = customer(), make_product()
    with tracing() as trace, scope("GET /"):
        order = purchase(user, [Item(product_id=product.pk, quantity=1)])
        cancel(user, order.public_id)
        top_customers(3)
    trace.save(tmp_path / "trace.json")
    report = json.loads(run("--no-database", "--format", "json", "--trace", str(tmp_path)))
    plan = {cut["context"]: cut for cut in report["plan"]}
    assert [cut["step"] for cut in report["plan"]] == [1, 2, 3, 4, 5]
    assert report["plan"][0]["cost_then"] == min(cut["cost"] for cut in report["plan"])
    assert report["verdict"]["first"] == report["plan"][0]["context"]
    assert report["plan"][-1]["cost_then"] < report["plan"][-1]["cost"]
    assert {name for name, cut in plan.items() if cut["after"] == ["orders"]} == {"accounts", "inventory", "payments"}
    coordinators = ["legacy_monolith.orders.purchase.purchase", "legacy_monolith.orders.transitions.cancel"]
    assert plan["payments"]["sagas"] == plan["orders"]["sagas"] == plan["inventory"]["sagas"] == coordinators
    assert plan["accounts"]["sagas"] == coordinators[:1]
    three = "accounts_user ⋈ orders_order ⋈ payments_payment"
    assert {cut for cut in plan if three in plan[cut]["projections"]} == {"accounts", "orders", "payments"}
    assert "accounts → orders (command: accounts_user)" in plan["accounts"]["contracts"]
    assert "payments → reporting (query: payments_payment)" in plan["payments"]["contracts"]
    pairs = {tuple(pair["contexts"]): pair for pair in report["pairs"]}
    assert pairs["orders", "payments"]["sagas"] == coordinators
    assert pairs["orders", "payments"]["loose_keys"] == ["payments.Payment.order"]
    joined = json.loads(run("--no-database", "--format", "json", "--trace", str(tmp_path), what_if=["orders+payments"]))
    assert {cut["context"]: cut["sagas"] for cut in joined["plan"]}["orders+payments"] == coordinators


def test_what_if_two_contexts_were_one(tmp_path: Path) -> None:
    apart = json.loads(run("--no-database", "--format", "json"))
    joined = json.loads(run("--no-database", "--format", "json", what_if=["orders+payments"]))
    assert {each["context"] for each in joined["plan"]} == {"accounts", "catalog", "inventory", "orders+payments"}
    pair = next(each for each in apart["pairs"] if each["contexts"] == ["orders", "payments"])
    total = sum(each["cost"] for each in apart["pairs"])
    assert sum(each["cost"] for each in joined["pairs"]) <= total - pair["cost"]
    assert pair["cost"] == 7  # a foreign key, its cascade, and two imports
    for wrong in ("orders+paiments", "orders", "orders+orders"):
        with pytest.raises(CommandError, match="must join two contexts or more of"):
            run("--no-database", what_if=[wrong])


@pytest.mark.django_db
def test_what_was_observed_is_told_by_the_contexts_of_today(tmp_path: Path) -> None:
    """Of those that --what-if has made one, and of one that has another name since the trace was recorded."""
    user, product = customer(), make_product()
    with tracing() as trace, scope("GET /"):
        purchase(user, [Item(product_id=product.pk, quantity=1)])
        top_customers(3)
    trace.save(tmp_path / "trace.json")
    given = ("--no-database", "--format", "json", "--trace", str(tmp_path / "trace.json"))
    apart, joined = json.loads(run(*given)), json.loads(run(*given, what_if=["orders+payments"]))

    def saga(report: Any) -> list[str]:
        (found,) = {tuple(each["detail"]["contexts"]) for each in report["findings"] if each["rule"] == "SFA202"}
        return sorted(found)

    def cost(report: Any, context: str) -> int:
        return int(next(cut["cost"] for cut in report["plan"] if cut["context"] == context))

    assert saga(apart) == ["accounts", "inventory", "orders", "payments"]
    assert saga(joined) == ["accounts", "inventory", "orders+payments"]
    ends = {each[end] for each in joined["findings"] for end in ("source", "target")}
    assert not ends & {"orders", "payments"}
    assert 0 < cost(joined, "orders+payments") < cost(apart, "orders") + cost(apart, "payments")
    renamed = (ROOT / "legacy_monolith" / "contexts.toml").read_text().replace("[contexts.orders]", "[contexts.sales]")
    (tmp_path / "contexts.toml").write_text(renamed)
    with override_settings(MIGRATION_TOOLS={"CONTEXTS": str(tmp_path / "contexts.toml")}):
        assert saga(json.loads(run(*given))) == ["accounts", "inventory", "payments", "sales"]
