"""After the cutover nothing of the ORM reaches an extracted model: every call, from every place, of every context."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import AppConfig, apps
from django.db import connection, connections, transaction
from django.db.models import Count, F, Model, QuerySet, Value

from legacy_monolith.accounts.models import User
from legacy_monolith.orders.models import Order
from migration_tools.errors import ExtractedModelQueried
from migration_tools.playbook.paths import source_model
from migration_tools.playbook.registry import get
from migration_tools.seams.extracted import ExtractedGuard
from migration_tools.state.journal import record
from migration_tools.state.models import Context
from migration_tools.state.phase import Phase
from tests.conftest import SMALL_SHOP, Pair

CONTEXTS = ("catalog", "inventory", "orders", "payments", "users")
# Calls that build queries and send none; raw() takes a text, of which quotes are all that the guard can go by.
SEND_NOTHING = {"as_manager", "db", "none", "ordered", "query", "raw", "resolve_expression"}


@pytest.fixture
def guard(pair: Pair, settings: Any) -> Iterator[ExtractedGuard]:
    """A small shop with all playbooks, guarded."""
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "PLAYBOOKS": [f"playbooks.{each}" for each in CONTEXTS]}
    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
    made = ExtractedGuard()
    made.install()
    yield made
    made.uninstall()


def cut_over(guard: ExtractedGuard, context: str, phase: Phase = Phase.CUTOVER) -> None:
    Context.objects.update_or_create(name=context, defaults={"phase": phase})
    guard._read_at = 0.0  # it looks once a second


def models_of(context: str) -> list[type[Model]]:
    return [source_model(projection.model) for projection in get(context).projections]


def calls(model: type[Model]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every public call of a query set with arguments that fit any model, carried out, and those of an instance."""
    column = next(f for f in model._meta.concrete_fields if not f.primary_key)
    own = model(pk=1)
    arguments: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
        "aggregate": ((), {"n": Count("pk")}),
        "alias": ((), {"n": Value(1)}),
        "annotate": ((), {"n": Value(1)}),
        "bulk_create": (([model(pk=2)],), {}),
        "bulk_update": (([own], [column.name]), {}),
        "complex_filter": (({"pk": 1},), {}),
        "contains": ((own,), {}),
        "defer": ((column.name,), {}),
        "earliest": (("pk",), {}),
        "get": ((), {"pk": 1}),
        "get_or_create": ((), {"pk": 1}),
        "in_bulk": (([1],), {}),
        "latest": (("pk",), {}),
        "only": ((column.name,), {}),
        "update": ((), {column.attname: F(column.attname)}),
        "update_or_create": ((), {"pk": 1}),
        "using": (("default",), {}),
    } | {name: ((model._base_manager.all(),), {}) for name in ("difference", "intersection", "union")}
    dated = [f.name for f in model._meta.concrete_fields if f.get_internal_type() == "DateTimeField"]
    for name in dir(QuerySet):
        if name.startswith(("_", "a")) and name not in arguments and name != "all":
            continue  # the awaited forms send what the others do, from threads: see below
        if name in SEND_NOTHING or (name in ("dates", "datetimes") and not dated):
            continue
        args, kwargs = arguments.get(name, ((dated[0], "year") if name in ("dates", "datetimes") else (), {}))
        yield name, lambda n=name, a=args, k=kwargs: _carried_out(getattr(model._base_manager.all(), n)(*a, **k))
    yield "save of an instance", own.save
    yield "refresh_from_db", own.refresh_from_db
    yield "a subquery", lambda: list(User.objects.filter(pk__in=model._base_manager.values("pk")))


def _carried_out(answer: Any) -> Any:
    return list(answer) if hasattr(answer, "__iter__") else answer


def joins(model: type[Model], extracted: list[type[Model]]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """A model that stayed, asked for together with one that left."""
    for field in model._meta.concrete_fields:
        if field.related_model in extracted:
            yield (
                f"{model.__name__}.{field.name}",
                lambda f=field: list(model._base_manager.select_related(f.name).filter(**{f"{f.name}__pk__gt": 0})),
            )
    for relation in model._meta.related_objects:
        if relation.related_model in extracted and relation.get_accessor_name():
            yield (
                f"{model.__name__}.{relation.get_accessor_name()}",
                lambda r=relation: list(getattr(model(pk=1), str(r.get_accessor_name())).all()),
            )


@pytest.mark.parametrize("context", CONTEXTS)
def test_no_call_of_the_orm_reaches_an_extracted_model(guard: ExtractedGuard, pair: Pair, context: str) -> None:
    gone = models_of(context)
    stayed = [model for model in apps.get_models() if model.__module__.startswith("legacy_monolith.")]
    stayed = [model for model in stayed if model not in gone]
    cut_over(guard, context, Phase.SWITCH_READS)
    for model in gone:
        model._base_manager.count()
    cut_over(guard, context)
    tried = 0
    for model in gone:
        for name, call in calls(model):
            with transaction.atomic(), pytest.raises(ExtractedModelQueried, match=f"cutover of '{context}'"):
                pytest.fail(f"{model.__name__}.{name} answered {call()!r}")
            tried += 1
    for model in stayed:
        for name, call in joins(model, gone):
            with pytest.raises(ExtractedModelQueried):
                pytest.fail(f"{name} answered {call()!r}")
            tried += 1
    assert tried >= 35 * len(gone)
    for model in stayed:
        assert model._base_manager.count() >= 0, "what stayed is asked as before"


def test_an_app_among_the_installed_ones_is_all_that_it_takes(pair: Pair) -> None:
    """As `migration_tools.seams` in INSTALLED_APPS does at the start of a process."""
    Context.objects.update_or_create(name="orders", defaults={"phase": Phase.CUTOVER})
    assert Order.objects.count() == 0, "this project's settings do not have it"
    AppConfig.create("migration_tools.seams").ready()
    (made,) = [each for each in connection.execute_wrappers if isinstance(each, ExtractedGuard)]
    try:
        with pytest.raises(ExtractedModelQueried, match="cutover of 'orders'"):
            Order.objects.count()
    finally:
        made.uninstall()
    assert Order.objects.count() == 0


def test_a_database_without_the_table_of_phases_is_migrated_under_the_guard(guard: ExtractedGuard) -> None:
    """As at the first `migrate`, and that of every test database: its statements name the models' tables."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE strangle_context RENAME TO strangle_context_to_come")
        assert Order.objects.count() == 300
        transaction.set_rollback(True)
    cut_over(guard, "orders")
    with pytest.raises(ExtractedModelQueried):
        Order.objects.count()


def test_tables_of_the_same_names_in_the_service_s_own_database_are_asked(guard: ExtractedGuard, pair: Pair) -> None:
    cut_over(guard, "orders")
    with connections["orders"].cursor() as cursor:
        cursor.execute("""SELECT 'a "orders_order"'""")
        assert cursor.fetchone() == ('a "orders_order"',)


def test_threads_that_come_later_are_guarded_and_kept_copies_are_read(guard: ExtractedGuard) -> None:
    cut_over(guard, "users")
    told: list[Exception] = []

    def ask() -> None:
        try:
            User.objects.count()
        except ExtractedModelQueried as error:
            told.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert len(told) == 1
    record("users", "decommission", "chosen", {"keep": True})
    cut_over(guard, "users", Phase.DECOMMISSION)
    assert User.objects.count() == 20, "sessions go on joining the copies"
    record("users", "decommission", "chosen", {"keep": False})
    guard._read_at = 0.0
    with pytest.raises(ExtractedModelQueried):
        User.objects.count()
