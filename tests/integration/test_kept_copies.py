"""The other end: the old tables stay as copies that follow, and PostgreSQL refuses whoever else writes them."""

import datetime as dt
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO

import psycopg
import pytest
from django.core.management import call_command
from django.utils import timezone

from migration_tools.observability.figures import collect
from migration_tools.overview.observing import observe
from migration_tools.phases.quiet import STEP
from migration_tools.state.journal import phase_of, read_context
from migration_tools.state.models import JournalEntry
from migration_tools.stores.postgres import connect
from playbooks.orders import Orders
from tests.integration.test_phases import ROAD, Road, road, said_by
from tests.races.scene import beside
from tests.races.test_archive import await_that

__all__ = ["road"]

KEEP = ("strangle_decommission", "--keep-copies")
REFERENCES = """SELECT conname::text FROM pg_constraint WHERE contype = 'f' AND confrelid = 'orders_order'::regclass
                AND conrelid <> 'orders_orderline'::regclass"""
RIGHTS = """
    SELECT grantee::text, table_name::text, '', privilege_type::text, is_grantable::text
    FROM information_schema.table_privileges WHERE table_name IN ('orders_order', 'orders_orderline')
    UNION SELECT grantee, table_name, column_name, privilege_type, is_grantable
    FROM information_schema.column_privileges WHERE table_name IN ('orders_order', 'orders_orderline')
    ORDER BY 1, 2, 3, 4"""
PAID = """INSERT INTO payments_payment (order_id, amount, status, created_at, updated_at)
          VALUES (%s, 1, 'captured', now(), now())"""
GONE = (
    "DELETE FROM sales_orderitem WHERE order_public_id = (SELECT public_id FROM sales_order WHERE id = %s)",
    "DELETE FROM sales_order WHERE id = %s",
)


def end_in_the_service(road: Road, order: int) -> None:
    with road.stage.orders.transaction():
        for statement in GONE:
            road.stage.orders.execute(statement, [order])


def has_order(road: Road, order: int) -> bool:
    return road.stage.shop.execute("SELECT 1 FROM orders_order WHERE id = %s", [order]).fetchone() is not None


@contextmanager
def asking(road: Road, statement: str) -> Iterator[None]:
    """A page of the monolith that goes on using the old tables; what it may it does in transactions of a while."""

    def ask(stop: threading.Event) -> None:
        with road.pair.connect("shop", "shop_app", application_name="nightly report") as conn:
            while not stop.is_set():
                if statement.startswith("SELECT"):
                    with conn.transaction():
                        conn.execute(statement)
                        stop.wait(0.3)
                    continue
                with pytest.raises(psycopg.errors.OperationalError, match="not owned here"):
                    conn.execute(statement)
                stop.wait(0.02)

    with beside(ask):
        yield


def refused_as(road: Road, statement: str) -> str:
    """The SQLSTATE with which an application of the monolith is refused."""
    with road.pair.connect("shop", "shop_app") as conn, pytest.raises(psycopg.Error) as caught:
        conn.execute(statement)
    return str(caught.value.sqlstate)


def test_copies_are_read_follow_deletes_refuse_other_writes_and_come_back(road: Road) -> None:
    road.go(*ROAD[:5])
    shop = road.stage.shop
    shop.execute(PAID, [7])
    shop.execute("REVOKE INSERT ON orders_order FROM shop_app; GRANT INSERT (note, id) ON orders_order TO shop_app")
    shop.execute(
        "GRANT DELETE ON orders_orderline TO shop_app WITH GRANT OPTION; GRANT UPDATE ON orders_order TO PUBLIC"
    )
    rights, references = shop.execute(RIGHTS).fetchall(), sorted(shop.execute(REFERENCES).fetchall())
    assert len(references) > 2

    assert "clean verifications" in str(road.refused(*KEEP)), "copies that are read must have been found equal"
    road.run("strangle_verify")
    plan = road.run(*KEEP, "--dry-run")
    assert plan["blocking"] == []
    told = " ".join(plan["plan"])
    assert "Take the rights to write orders_order, orders_orderline from role 'shop_app'" in told
    assert "anybody may read them, they follow the service" in told
    assert shop.execute(RIGHTS).fetchall() == rights

    with asking(road, "SELECT count(*) FROM orders_order"):
        evidence = road.run(*KEEP)["evidence"]
    assert evidence["kept"]
    assert evidence["writes_taken"] == ["public", "shop_app"]
    assert evidence["may_write_still"] == []
    assert phase_of("orders") == "decommission"
    assert shop.execute(REFERENCES).fetchall() == []

    # A wrong write is refused by the role; where that was given anew, by the fence, and the doctor says so.
    for statement in (
        "INSERT INTO orders_order (note) VALUES ('x')", "UPDATE orders_order SET note = 'x'",
        "DELETE FROM orders_orderline", "TRUNCATE orders_orderline", "SELECT * FROM orders_order FOR UPDATE",
    ):  # fmt: skip
        assert refused_as(road, statement) == "42501", statement
    assert road.run("strangle_doctor")["evidence"]["findings"] == []
    shop.execute("GRANT UPDATE ON orders_order TO shop_app")
    assert refused_as(road, "UPDATE orders_order SET note = 'x'") == "40S01"
    assert "role 'shop_app' may write the copy 'orders_order'" in str(road.refused("strangle_doctor"))
    road.run("strangle_doctor", "--mend")
    assert refused_as(road, "UPDATE orders_order SET note = 'x'") == "42501"

    # What the service writes follows, also the end of a row that a payment of the monolith refers to.
    road.stage.orders.execute("UPDATE sales_order SET remark = 'after the end' WHERE id = 8")
    end_in_the_service(road, 7)
    await_that(lambda: not has_order(road, 7), "the delete has followed")
    assert shop.execute("SELECT note FROM orders_order WHERE id = 8").fetchone() == ("after the end",)
    assert road.settled() == []

    _everybody_says_so(road)
    assert "strangle_rollback orders, then strangle_decommission orders" in str(road.refused("strangle_decommission"))
    for option in ((), ("--dry-run",)):
        error = road.refused("strangle_decommission", "--remove", *option)
        assert (error.returncode, "are kept as copies that follow" in str(error)) == (4, True)

    # Back: the payment without an order is named, and mended; then everything is as it was.
    error = road.refused("strangle_rollback")
    assert "of 'payments_payment' cannot be restored: Key (order_id)=(7) is not present" in str(error)
    shop.execute("DELETE FROM payments_payment WHERE order_id = 7")
    road.run("strangle_rollback")
    assert phase_of("orders") == "cutover"
    assert shop.execute(RIGHTS).fetchall() == rights
    assert sorted(shop.execute(REFERENCES).fetchall()) == references
    assert refused_as(road, "UPDATE orders_order SET note = 'x'") == "40S01", "the service owns it as before"
    assert road.settled() == []
    assert said_by("strangle_report", "audit") == "audit of orders: the record holds together"


def _everybody_says_so(road: Road) -> None:
    seen = observe(Orders)
    assert (seen["problem"], seen["status"]["kept_copies"]) == ("", True)
    assert seen["road"][-1]["purpose"] == "The old tables are kept as copies that follow the service."
    assert seen["way_back"]["say"].startswith("possible now, the copies are ")
    left = {each["what"]: each["done"] for each in seen["remaining"]}
    assert left["sessions that write the copies"]
    assert left["references of other tables to the copies"]
    for command, words in (
        (("strangle_status", "orders"), "kept as copies that follow"),
        (("strangle_top", "--once"), "decommission (copies kept)"),
    ):
        out = StringIO()
        call_command(*command, stdout=out)
        assert words in out.getvalue(), out.getvalue()
    with connect("default", "test") as conn:
        figures = {each.name: each.value for each in collect(conn) if each.labels == {"context": "orders"}}
    assert figures["strangle_copies_kept"] == 1


@pytest.mark.thorough
def test_a_reference_left_in_place_stops_the_way_back_at_the_first_delete(road: Road) -> None:
    """The naive variant: why the references go before the copies stay."""
    road.go(*ROAD[:5])
    road.stage.shop.execute(PAID, [7])
    end_in_the_service(road, 7)
    standing = "SELECT standstill FROM strangle_inbox WHERE stream = 'orders'"
    await_that(lambda: bool((road.stage.shop.execute(standing).fetchone() or ("",))[0]), "the consumer stands still")
    told = str((road.stage.shop.execute(standing).fetchone() or ("",))[0])
    assert "payments_payment" in told
    road.stage.orders.execute("UPDATE sales_order SET remark = 'behind it' WHERE id = 8")
    assert has_order(road, 7)
    error = road.refused(*KEEP)
    assert (error.returncode, "stands still" in str(error)) == (4, True)
    road.stage.shop.execute("DELETE FROM payments_payment WHERE order_id = 7")
    await_that(lambda: not has_order(road, 7), "the consumer goes on")
    road.run("strangle_verify")
    road.run(*KEEP)
    road.stage.shop.execute(
        "ALTER TABLE payments_payment ADD CONSTRAINT again FOREIGN KEY (order_id) REFERENCES orders_order (id) "
        "DEFERRABLE INITIALLY DEFERRED"
    )
    assert "reference 'again' of 'payments_payment' to the copy 'orders_order'" in str(road.refused("strangle_doctor"))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE orders_order SET note = 'late' WHERE id = 3", "writes since"),
        ("SELECT id FROM orders_order WHERE id = 3 FOR UPDATE", "read with row locks (SELECT … FOR UPDATE) by role"),
    ],
)
def test_who_still_writes_or_locks_rows_is_named_and_everything_taken_back(
    road: Road, statement: str, words: str
) -> None:
    road.go(*ROAD[:5], "strangle_verify")
    references = sorted(road.stage.shop.execute(REFERENCES).fetchall())
    with asking(road, statement):
        # Three seconds, since a busy machine may not let anybody ask within the tenth that the playbook watches.
        error = road.refused(*KEEP, "--quiet-days", str(3 / 86_400))
    assert error.returncode == 4
    assert words in str(error)
    assert "role 'shop_app' (nightly report)" in str(error)
    assert (phase_of("orders"), read_context("orders").move) == ("cutover", None)
    assert sorted(road.stage.shop.execute(REFERENCES).fetchall()) == references
    road.run(*KEEP)


@pytest.mark.thorough
def test_a_watch_of_days_keeps_the_way_back_and_cannot_change_its_end(road: Road) -> None:
    road.go(*ROAD[:5], "strangle_verify")
    asked = (*KEEP, "--quiet-days", "7")
    assert "nobody has written the old tables" in str(road.refused(*asked))
    for command in (("strangle_decommission",), ("strangle_decommission", "--dry-run")):
        error = road.refused(*command)
        assert "complete it with strangle_decommission orders --keep-copies" in str(error)
    end_in_the_service(road, 9)
    await_that(lambda: not has_order(road, 9), "the way back goes on")
    entry = JournalEntry.objects.filter(step=STEP).latest("id")
    entry.evidence["at"] = (timezone.now() - dt.timedelta(days=8)).isoformat()
    entry.save()
    road.run(*asked)
    assert observe(Orders)["status"]["kept_copies"]
    road.run("strangle_rollback")

    # From there to the other end, and no copies any more.
    assert "days are left" in str(road.refused("strangle_decommission", "--quiet-days", "7"))
    assert "complete it with strangle_decommission orders, or undo it" in str(road.refused(*KEEP))
    road.run("strangle_decommission")
    assert not observe(Orders)["status"]["kept_copies"]
    road.go("strangle_rollback", "strangle_rollback")
    assert phase_of("orders") == "switch_reads"
    assert road.settled() == []


def test_options_that_do_not_go_with_kept_copies_are_refused(road: Road) -> None:
    for option in ("--remove", "--directory=somewhere"):
        assert road.refused(*KEEP, option).returncode == 2
