"""The fence: after a hand-over the old side refuses every way of writing, whoever asks and however old his snapshot."""

import itertools
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from migration_tools.capture.models import Side
from migration_tools.capture.ownership import set_owner
from migration_tools.kernel.locks import LockClass, lock_keys
from migration_tools.stores.postgres import connect
from tests.races.scene import NEW_ORDER, NEW_SALE, open_transaction
from tests.stage import STREAM, Stage

FENCED = "40S01"


@pytest.fixture
def closed(stage: Stage) -> Iterator[Stage]:
    """The service owns the context; rows are copied."""
    stage.backfill()
    own(stage, Side.TARGET, 2)
    yield stage
    assert stage.differences() == []


def own(stage: Stage, side: Side, epoch: int) -> None:
    """Move the ownership at once, without a hand-over's care."""
    del stage
    for alias in ("default", "orders"):
        with connect(alias, "test") as conn:
            set_owner(conn, STREAM, side, epoch)


WRITES = {
    "insert": "INSERT INTO orders_orderline (order_id, product_id, quantity, unit_price) VALUES (1, 1, 1, 1)",
    "insert of a query": "INSERT INTO orders_orderline (order_id, product_id, quantity, unit_price) "
    "SELECT order_id, product_id, 1, 1 FROM orders_orderline",
    "update": "UPDATE orders_order SET note = 'late' WHERE id = 1",
    "update of nothing": "UPDATE orders_order SET note = 'late' WHERE false",
    "update through a join": "UPDATE orders_order o SET note = u.email FROM accounts_user u WHERE u.id = o.user_id",
    "delete": "DELETE FROM orders_orderline WHERE id = 1",
    "on conflict do nothing": "INSERT INTO orders_orderline (id, order_id, product_id, quantity, unit_price) "
    "VALUES (1, 1, 1, 1, 1) ON CONFLICT DO NOTHING",
    "on conflict do update": "INSERT INTO orders_orderline (id, order_id, product_id, quantity, unit_price) "
    "VALUES (1, 1, 1, 1, 1) ON CONFLICT (id) DO UPDATE SET quantity = 77",
    "merge": "MERGE INTO orders_order o USING (VALUES (1)) v(id) ON o.id = v.id "
    "WHEN MATCHED THEN UPDATE SET note = 'm'",
    "within a query": "WITH gone AS (DELETE FROM orders_orderline RETURNING id) SELECT count(*) FROM gone",
}


def test_a_write_of_any_form_by_the_application_is_refused(closed: Any, subtests: pytest.Subtests) -> None:
    with closed.pair.connect("shop", "shop_app") as app:
        for name, statement in WRITES.items():
            with subtests.test(name), pytest.raises(psycopg.OperationalError) as caught:
                app.execute(statement)
            assert caught.value.sqlstate == FENCED


def test_copy_by_the_application_is_refused(closed: Any) -> None:
    with (
        closed.pair.connect("shop", "shop_app") as app,
        pytest.raises(psycopg.OperationalError) as caught,
        app.cursor().copy("COPY orders_orderline (order_id, product_id, quantity, unit_price) FROM STDIN") as copy,
    ):
        copy.write_row((1, 1, 1, "1.00"))
    assert caught.value.sqlstate == FENCED


def test_truncate_is_refused_even_to_those_who_may(closed: Any) -> None:
    for user in ("shop_owner", "postgres"):
        with closed.pair.connect("shop", user) as conn, pytest.raises(psycopg.OperationalError) as caught:
            conn.execute("TRUNCATE orders_orderline")
        assert caught.value.sqlstate == FENCED, user


def test_a_session_that_replays_as_a_replica_is_fenced_too(closed: Any) -> None:
    """Ordinary triggers do not fire there; these are ENABLE ALWAYS."""
    with closed.pair.connect("shop") as conn:
        conn.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.OperationalError) as caught:
            conn.execute(WRITES["update"])
    assert caught.value.sqlstate == FENCED


def test_a_write_through_a_view_a_function_and_a_cascade_is_refused(closed: Any) -> None:
    closed.shop.execute("CREATE VIEW front AS SELECT id, note FROM orders_order")
    closed.shop.execute("GRANT UPDATE, SELECT ON front TO shop_app")
    closed.shop.execute(
        "CREATE FUNCTION note_it() RETURNS void LANGUAGE sql SECURITY DEFINER "
        "AS $$ UPDATE orders_order SET note = 'deep' WHERE id = 1 $$"
    )
    closed.shop.execute(
        "ALTER TABLE orders_order ADD CONSTRAINT race FOREIGN KEY (user_id) REFERENCES accounts_user ON DELETE CASCADE"
    )
    for statement in (
        "UPDATE front SET note = 'through' WHERE id = 1",
        "SELECT note_it()",
        "DELETE FROM accounts_user WHERE id = (SELECT min(user_id) FROM orders_order)",
    ):
        with closed.pair.connect("shop", "shop_app") as app, pytest.raises(psycopg.OperationalError) as caught:
            app.execute(statement)
        assert caught.value.sqlstate == FENCED, statement


def test_an_application_that_says_it_applies_is_not_believed(closed: Any, subtests: pytest.Subtests) -> None:
    with closed.pair.connect("shop", "shop_app") as app:
        app.autocommit = False
        for mode, local in itertools.product(("row", "patch", "anything"), (True, False)):
            app.execute("SELECT set_config('strangle.applying', %s, %s)", [mode, local])
            with subtests.test(f"{mode} {local}"), pytest.raises(psycopg.OperationalError) as caught:
                app.execute(WRITES["update"])
            assert caught.value.sqlstate == FENCED
            app.rollback()


def test_an_application_that_says_it_applies_is_captured_while_it_owns(stage: Any) -> None:
    stage.backfill()
    with stage.pair.connect("shop", "shop_app") as app, app.transaction():
        app.execute("SELECT set_config('strangle.applying', 'row', true)")
        app.execute("UPDATE orders_order SET note = 'not hidden' WHERE id = 1")
    stage.settle()
    assert stage.differences() == []


def test_the_services_application_is_fenced_until_it_owns(stage: Any) -> None:
    with stage.pair.connect("orders", "orders_app") as app:
        with pytest.raises(psycopg.OperationalError) as caught:
            app.execute(NEW_SALE, ["too early"])
        assert caught.value.sqlstate == FENCED
        own(stage, Side.TARGET, 2)
        app.execute(NEW_SALE, ["owner"])


def test_a_replica_is_written_by_nobody_in_any_phase(stage: Any) -> None:
    for owner, epoch in ((Side.SOURCE, 2), (Side.TARGET, 3)):
        own(stage, owner, epoch)
        with stage.pair.connect("orders", "orders_app") as app, pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("UPDATE sales_product SET price_cents = 1")


SNAPSHOTS = [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE]


def write_by_an_old_snapshot(stage: Stage, level: psycopg.IsolationLevel) -> None:
    """Begin before the ownership moves, write after it."""
    stage.backfill()
    with stage.pair.connect("shop", "shop_app") as old:
        old.autocommit = False
        old.isolation_level = level
        old.execute("SELECT count(*) FROM orders_order")
        own(stage, Side.TARGET, 2)
        try:
            old.execute(WRITES["update"])
            old.commit()
        finally:
            old.rollback()


@pytest.mark.parametrize("level", SNAPSHOTS, ids=lambda level: level.name.lower())
def test_a_transaction_whose_snapshot_is_older_than_the_hand_over_is_refused(stage: Any, level: Any) -> None:
    with pytest.raises(psycopg.OperationalError) as caught:
        write_by_an_old_snapshot(stage, level)
    assert caught.value.sqlstate == FENCED
    assert stage.differences() == []


def test_a_fence_that_only_reads_the_owner_lets_the_older_snapshot_through(stage: Any) -> None:
    """The naive fence: what everybody writes who forgets that a snapshot may be older than the owner it reads."""
    fence = stage.shop.execute("SELECT pg_get_functiondef('strangle_orders_orders_order_fence'::regproc)").fetchone()[0]
    head, _, rest = fence.partition("IF pg_catalog.current_setting('transaction_isolation')")
    tail = rest.partition("END IF;")[2]
    stage.shop.execute(
        f"{head}SELECT owner INTO now_owner FROM strangle_ownership WHERE context = 'orders';{tail}".encode()
    )
    write_by_an_old_snapshot(stage, psycopg.IsolationLevel.REPEATABLE_READ)
    assert stage.shop.execute("SELECT note FROM orders_order WHERE id = 1").fetchone() == ("late",)


def test_a_transaction_that_began_to_write_before_the_hand_over_holds_it_up_until_it_ends(stage: Any) -> None:
    """What makes the drain complete: the exclusive lock is not had while a write is uncommitted, even prepared."""
    with open_transaction(stage) as conn:
        conn.tpc_begin("prepared before the hand-over")
        conn.execute(NEW_ORDER, ["prepared"])
        conn.tpc_prepare()
        ask = "SELECT pg_try_advisory_lock(%s, %s)"
        assert stage.shop.execute(ask, lock_keys(LockClass.FENCE, STREAM)).fetchone() == (False,)
        conn.tpc_commit()
        assert stage.shop.execute(ask, lock_keys(LockClass.FENCE, STREAM)).fetchone() == (True,)
