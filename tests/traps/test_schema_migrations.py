"""Django's schema migrations beside writers: the shop's writes go on, the stream stops or goes on, nothing is lost."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, connections, migrations, models
from django.db.migrations.loader import MigrationLoader

from migration_tools.capture.installation import Status, inspect, install
from migration_tools.errors import CaptureDrift
from migration_tools.playbook.compiled import compile_playbook
from migration_tools.playbook.registry import get
from migration_tools.stores.postgres import connect
from tests.races.scene import Background

TOUCH_USERS = "UPDATE accounts_user SET first_name = 'v' || %s WHERE email = %s"


@contextmanager
def writing(stage: Any) -> Iterator[list[int]]:
    """Two writers who name none of the columns that are changed; any error of theirs fails the test."""
    stop = threading.Event()
    counts = [0, 0]

    def write(number: int) -> None:
        with stage.pair.connect("shop", "shop_app") as conn:
            while not stop.is_set():
                counts[number] += 1
                conn.execute(TOUCH_USERS, [f"{number}-{counts[number]}", f"u{counts[number] % 20 + 1}@example.com"])
                conn.execute("UPDATE orders_orderline SET quantity = quantity + 1 WHERE id %% 50 = %s", [number])
                stop.wait(0.002)

    writers = [Background(lambda number=number: write(number)) for number in range(2)]
    try:
        yield counts
    finally:
        stop.set()
        for writer in writers:
            writer.outcome()


def migrate(*operations: migrations.operations.base.Operation) -> None:
    """Run a schema migration of the orders app on the shop, as `manage.py migrate` would."""
    state = MigrationLoader(connection).project_state()
    made = migrations.Migration("later", "orders")
    made.operations = list(operations)
    with connections["default"].schema_editor(atomic=True) as editor:
        made.apply(state, editor)


def mend(stage: Any) -> None:
    """What strangle_doctor --mend does with the playbook as it is now."""
    with connect("default", "test") as source, connect("orders", "test") as target:
        compiled = compile_playbook(get("orders"), source, target)
        install(source, compiled.source, wait=lambda _: None)
        install(target, compiled.target, wait=lambda _: None)
        assert {each.status for each in inspect(source, compiled.source)} == {Status.INSTALLED}


def test_columns_added_retyped_renamed_and_dropped_beside_the_mapping_while_writes_go_on(stage: Any) -> None:
    stage.backfill()
    with writing(stage) as counts, stage.running():
        for operation in (
            migrations.AddField("orderline", "extra", models.TextField(null=True)),
            migrations.AlterField("orderline", "quantity", models.BigIntegerField()),
        ):
            migrate(operation)
        before = sum(counts)
        while sum(counts) < before + 20:
            threading.Event().wait(0.005)
        stage.shop.execute("ALTER TABLE orders_orderline RENAME extra TO other")
        stage.shop.execute("ALTER TABLE orders_orderline DROP other")
    stage.settle()
    assert stage.differences() == []


@pytest.mark.parametrize("change", ["key", "joined"])
def test_a_renamed_column_that_a_trigger_names_fails_no_write_and_loses_none(
    stage: Any, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    model, attribute, column = {
        "key": (apps.get_model("orders", "OrderLine"), "id", "number"),
        "joined": (apps.get_model("accounts", "User"), "first_name", "given"),
    }[change]
    field, table = model._meta.get_field(attribute), model._meta.db_table
    stage.backfill()
    stage.shop.execute("UPDATE orders_orderline SET quantity = 77 WHERE order_id = 2")
    with stage.pair.connect("shop", "shop_app") as writer:
        stage.shop.execute(f"ALTER TABLE {table} RENAME {attribute} TO {column}")
        writer.execute("UPDATE orders_orderline SET quantity = 9 WHERE order_id = 3")
        writer.execute("UPDATE accounts_user SET last_name = 'Renamed' WHERE email = 'u4@example.com'")
        writer.execute("DELETE FROM orders_orderline WHERE order_id = 5")
    with pytest.raises(CaptureDrift, match="strangle_doctor orders --mend"):
        stage.tick()
    monkeypatch.setattr(field, "column", column)
    mend(stage)
    stage.shop.execute("UPDATE orders_orderline SET quantity = 10 WHERE order_id = 6")
    stage.settle()
    stage.shop.execute(f"ALTER TABLE {table} RENAME {column} TO {attribute}")
    assert stage.differences() == []


def test_a_key_renamed_and_back_again_loses_nothing_that_was_written_between(stage: Any) -> None:
    stage.backfill()
    stage.shop.execute("ALTER TABLE orders_orderline RENAME id TO number")
    stage.shop.execute("UPDATE orders_orderline SET quantity = 9 WHERE order_id = 3")
    stage.shop.execute("DELETE FROM orders_orderline WHERE order_id = 5")
    with pytest.raises(CaptureDrift, match=r"'id' of 'orders_orderline'.*column .* does not exist"):
        stage.tick()
    stage.shop.execute("ALTER TABLE orders_orderline RENAME number TO id")
    stage.settle()
    assert stage.differences() == []
