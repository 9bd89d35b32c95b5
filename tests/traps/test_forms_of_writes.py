"""Every form in which a write may come is captured: by the ORM, by SQL, by PostgreSQL itself."""

from typing import Any

import pytest
from django.contrib.admin.sites import AdminSite
from django.db.models import F
from django.test import RequestFactory

from legacy_monolith.orders.models import Order, OrderLine


@pytest.fixture
def copied(stage: Any) -> Any:
    """The stage with its history copied."""
    stage.backfill()
    assert stage.differences() == []
    return stage


def carried(stage: Any) -> bool:
    """Whether both sides are equal once all is applied, and something was."""
    before = stage.tick()
    stage.settle()
    assert stage.differences() == []
    return bool(before)


def test_update_of_a_queryset(copied: Any) -> None:
    Order.objects.filter(id__lt=50).update(note="by update()", total=F("total") + 1)
    assert carried(copied)
    assert copied.orders.execute("SELECT count(*) FROM sales_order WHERE remark = 'by update()'").fetchone() == (49,)


def test_delete_of_a_queryset(copied: Any) -> None:
    OrderLine.objects.filter(order_id__lt=50).delete()
    assert carried(copied)
    assert copied.orders.execute("SELECT count(*) FROM sales_orderitem").fetchone() == (OrderLine.objects.count(),)


def test_bulk_create_bulk_update_and_an_upsert_of_many(copied: Any) -> None:
    lines = list(OrderLine.objects.order_by("id")[:20])
    OrderLine.objects.bulk_create(
        [OrderLine(order_id=one.order_id, product_id=one.product_id, quantity=9, unit_price=1) for one in lines]
    )
    for one in lines:
        one.quantity = 11
    OrderLine.objects.bulk_update(lines, ["quantity"])
    for one in lines:
        one.quantity = 12
    OrderLine.objects.bulk_create(lines, update_conflicts=True, unique_fields=["id"], update_fields=["quantity"])
    assert carried(copied)
    found = copied.orders.execute(
        "SELECT qty, count(*) FROM sales_orderitem WHERE qty IN (9, 11, 12) GROUP BY 1 ORDER BY 1"
    )
    assert found.fetchall() == [(9, 20), (12, 20)]


def test_the_admin(copied: Any) -> None:
    from django.contrib import admin

    page = type(admin.site._registry.get(Order) or admin.ModelAdmin(Order, AdminSite()))(Order, AdminSite())
    order = Order.objects.get(id=4)
    order.note = "by the admin"
    page.save_model(RequestFactory().post("/"), order, form=None, change=True)
    assert carried(copied)
    assert copied.orders.execute("SELECT remark FROM sales_order WHERE id = 4").fetchone() == ("by the admin",)


def test_set_null_made_by_postgresql(copied: Any) -> None:
    shop = copied.shop
    shop.execute("CREATE TABLE coupon (id text PRIMARY KEY)")
    shop.execute("INSERT INTO coupon SELECT 'note' || n FROM generate_series(1, 5) n")
    shop.execute("UPDATE orders_order SET note = 'note' || id WHERE id < 6")
    shop.execute("UPDATE orders_order SET note = NULL WHERE id > 5")
    shop.execute("ALTER TABLE orders_order ADD CONSTRAINT c FOREIGN KEY (note) REFERENCES coupon ON DELETE SET NULL")
    copied.settle()
    shop.execute("DELETE FROM coupon WHERE id <> 'note2'")
    assert carried(copied)
    assert copied.orders.execute("SELECT remark FROM sales_order WHERE remark IS NOT NULL").fetchall() == [("note2",)]


def test_a_cascading_delete_made_by_postgresql(copied: Any) -> None:
    """ON DELETE CASCADE from a table of another context: rows go that no application named."""
    shop = copied.shop
    shop.execute("CREATE TABLE campaign (id bigint PRIMARY KEY)")
    shop.execute("INSERT INTO campaign SELECT n FROM generate_series(1, 5) n")
    shop.execute("ALTER TABLE orders_orderline ADD campaign bigint REFERENCES campaign ON DELETE CASCADE")
    shop.execute("UPDATE orders_orderline SET campaign = 1 + id % 5 WHERE id % 10 < 5")
    copied.settle()
    before = OrderLine.objects.count()
    shop.execute("DELETE FROM campaign WHERE id = 3")
    assert carried(copied)
    assert OrderLine.objects.count() < before
    assert copied.orders.execute("SELECT count(*) FROM sales_orderitem").fetchone() == (OrderLine.objects.count(),)


def test_copy_from_stdin(copied: Any) -> None:
    columns = "orders_orderline (order_id, product_id, quantity, unit_price)"
    with copied.shop.cursor().copy(f"COPY {columns} FROM STDIN") as copy:
        for order in range(1, 60):
            copy.write_row([order, 1, 13, "1.00"])
    assert carried(copied)
    assert copied.orders.execute("SELECT count(*) FROM sales_orderitem WHERE qty = 13").fetchone() == (59,)


def test_a_write_by_a_worker_process(copied: Any) -> None:
    """A job in a process of its own, which sent no signal to anybody here."""
    job = "from legacy_monolith.orders.models import Order; Order.objects.filter(id__lt=9).update(note='by a worker')"
    done = copied.pair.manage("shell", "-c", job)
    assert done.returncode == 0, done.stderr
    assert carried(copied)
    assert copied.orders.execute("SELECT count(*) FROM sales_order WHERE remark = 'by a worker'").fetchone() == (8,)


def test_an_update_of_a_key_made_by_postgresql(copied: Any) -> None:
    """ON UPDATE CASCADE from a table of another context into a captured column."""
    shop = copied.shop
    shop.execute("CREATE TABLE coupon (id text PRIMARY KEY)")
    shop.execute("INSERT INTO coupon VALUES ('old')")
    shop.execute("UPDATE orders_order SET note = 'old'")
    shop.execute("ALTER TABLE orders_order ADD CONSTRAINT c FOREIGN KEY (note) REFERENCES coupon ON UPDATE CASCADE")
    copied.settle()
    shop.execute("UPDATE coupon SET id = 'new'")
    assert carried(copied)
    assert copied.orders.execute("SELECT DISTINCT remark FROM sales_order").fetchall() == [("new",)]


def test_a_row_trigger_that_changes_what_is_written(copied: Any) -> None:
    copied.shop.execute(
        """CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN NEW.note := upper(NEW.note); RETURN NEW; END $$;
           CREATE TRIGGER shout BEFORE UPDATE ON orders_order FOR EACH ROW EXECUTE FUNCTION shout()"""
    )
    copied.shop.execute("UPDATE orders_order SET note = 'quiet' WHERE id = 1")
    assert carried(copied)
    assert copied.orders.execute("SELECT remark FROM sales_order WHERE id = 1").fetchone() == ("QUIET",)


def test_a_deferred_constraint_trigger_that_writes_at_the_commit(copied: Any) -> None:
    copied.shop.execute(
        """CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN UPDATE orders_order SET note = 'at the commit' WHERE id = NEW.order_id; RETURN NULL; END $$;
           CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON orders_orderline DEFERRABLE INITIALLY DEFERRED
           FOR EACH ROW EXECUTE FUNCTION late()"""
    )
    with copied.shop.transaction():
        copied.shop.execute("UPDATE orders_orderline SET quantity = 77 WHERE order_id = 3")
    assert carried(copied)
    assert copied.orders.execute("SELECT remark FROM sales_order WHERE id = 3").fetchone() == ("at the commit",)


def test_a_merge_that_inserts_updates_and_deletes_at_once(copied: Any) -> None:
    copied.shop.execute(
        """MERGE INTO orders_orderline l USING (SELECT generate_series(1, 400) id) s ON l.id = s.id
           WHEN MATCHED AND l.id % 3 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET quantity = 3
           WHEN NOT MATCHED AND s.id < 0 THEN INSERT (order_id) VALUES (1)"""
    )
    assert carried(copied)


def test_on_conflict_do_update_and_do_nothing(copied: Any) -> None:
    insert = "INSERT INTO orders_orderline (id, order_id, product_id, quantity, unit_price) SELECT n, 1, 1, 5, 1"
    copied.shop.execute(f"{insert} FROM generate_series(-5, 9) n ON CONFLICT (id) DO UPDATE SET quantity = 6")
    copied.shop.execute(f"{insert} FROM generate_series(-9, 9) n ON CONFLICT (id) DO NOTHING")
    assert carried(copied)


def test_a_writing_common_table_expression(copied: Any) -> None:
    copied.shop.execute(
        """WITH gone AS (DELETE FROM orders_orderline WHERE order_id = 5 RETURNING *)
           INSERT INTO orders_orderline (order_id, product_id, quantity, unit_price)
           SELECT 6, product_id, quantity, unit_price FROM gone"""
    )
    assert carried(copied)


def test_a_write_through_a_view_and_one_by_a_rule(copied: Any) -> None:
    copied.shop.execute("CREATE VIEW notes AS SELECT id, note FROM orders_order")
    copied.shop.execute("UPDATE notes SET note = 'by a view' WHERE id = 8")
    assert carried(copied)
    assert copied.orders.execute("SELECT remark FROM sales_order WHERE id = 8").fetchone() == ("by a view",)


def test_a_session_that_says_it_is_a_replica(copied: Any) -> None:
    copied.shop.execute("SET session_replication_role = replica")
    copied.shop.execute("UPDATE orders_order SET note = 'replica' WHERE id = 8")
    copied.shop.execute("RESET session_replication_role")
    assert carried(copied)


def test_capture_adds_no_query_of_the_applications_connection(copied: Any, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        Order.objects.filter(id=1).update(note="x")


def test_an_encrypted_column_is_copied_and_not_encrypted_anew(copied: Any) -> None:
    """An ORM save would decrypt and encrypt with a new nonce: the bytes would change."""
    copied.shop.execute("UPDATE orders_order SET note = encode(sha256(id::text::bytea), 'base64')")
    assert carried(copied)
    ours = copied.shop.execute("SELECT md5(string_agg(note, ',' ORDER BY id)) FROM orders_order").fetchone()
    assert copied.orders.execute("SELECT md5(string_agg(remark, ',' ORDER BY id)) FROM sales_order").fetchone() == ours


def test_a_materialised_view_over_the_tables_disturbs_nothing(copied: Any) -> None:
    copied.shop.execute("CREATE MATERIALIZED VIEW totals AS SELECT user_id, sum(total) FROM orders_order GROUP BY 1")
    copied.orders.execute(
        "CREATE MATERIALIZED VIEW totals AS SELECT customer_id, sum(total_cents) FROM sales_order GROUP BY 1"
    )
    copied.shop.execute("UPDATE orders_order SET total = total + 1 WHERE id < 9")
    copied.shop.execute("REFRESH MATERIALIZED VIEW totals")
    assert carried(copied)
