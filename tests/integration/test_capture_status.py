"""Everything that somebody may have done by hand to what capture installed is seen, named and mended."""

from typing import Any

import psycopg
import pytest

from migration_tools.capture.drift import compare_made
from migration_tools.capture.installation import Status, inspect, install
from migration_tools.capture.refusals import refusals
from migration_tools.stores.postgres import connect

TABLE = "orders_orderline"
UPD = "strangle_orders_orders_orderline_upd"
BODY = (
    "CREATE OR REPLACE FUNCTION {} () RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, "
    "pg_temp AS 'BEGIN RETURN NULL; END'"
)

BY_HAND = {
    "disabled": (f"ALTER TABLE {TABLE} DISABLE TRIGGER {UPD}", Status.DRIFTED, "is disabled"),
    "not always": (f"ALTER TABLE {TABLE} ENABLE TRIGGER {UPD}", Status.DRIFTED, "not ENABLE ALWAYS"),
    "one dropped": (f"DROP TRIGGER {UPD} ON {TABLE}", Status.DRIFTED, "was dropped"),
    "edited": (BODY.format(UPD), Status.DRIFTED, "was edited"),
    "a search path": (f"ALTER FUNCTION {UPD}() SET search_path = public", Status.DRIFTED, "was edited"),
    "another's rights": (f"ALTER FUNCTION {UPD}() SECURITY INVOKER", Status.DRIFTED, "was edited"),
    "another owner": (f"ALTER FUNCTION {UPD}() OWNER TO shop_app", Status.DRIFTED, "belongs to shop_app"),
    "redefined": (
        f"CREATE OR REPLACE TRIGGER {UPD} AFTER UPDATE ON {TABLE} REFERENCING OLD TABLE AS old_rows NEW TABLE AS "
        f"new_rows FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION {UPD}()",
        Status.DRIFTED,
        "was redefined",
    ),
    "all dropped": (
        "DO $$ DECLARE t record; BEGIN FOR t IN SELECT tgname FROM pg_trigger WHERE tgrelid = "
        f"'{TABLE}'::regclass AND tgname LIKE 'strangle%' LOOP EXECUTE format('DROP TRIGGER %I ON {TABLE}', "
        "t.tgname); END LOOP; END $$",
        Status.MISSING,
        "every trigger",
    ),
    "never installed": (f"DELETE FROM strangle_captured_table WHERE table_name = '{TABLE}'", Status.MISSING, ""),
    "an older declaration": (
        f"UPDATE strangle_captured_table SET declaration = 'older' WHERE table_name = '{TABLE}'",
        Status.OUTDATED,
        "",
    ),
}


def test_what_was_done_by_hand_is_named_and_mended(stage: Any) -> None:
    with connect("default", "test") as conn:
        for name, (statement, status, detail) in BY_HAND.items():
            stage.shop.execute(statement)
            found = [each for each in inspect(conn, stage.compiled.source) if each.status is not Status.INSTALLED]
            assert [each.status for each in found] == [status], name
            assert detail in found[0].detail, name
            assert TABLE in found[0].object, name
            if detail:
                assert compare_made(conn, "orders")[TABLE][0] is status, name
            install(conn, stage.compiled.source, wait=lambda _: None)
            left = [each for each in inspect(conn, stage.compiled.source) if each.status is not Status.INSTALLED]
            assert left == [], name
    stage.backfill()
    stage.shop.execute(f"UPDATE {TABLE} SET quantity = 8 WHERE order_id = 4")
    stage.settle()
    assert stage.differences() == []


def test_a_fence_without_its_counter_refuses_all_the_same_and_the_counter_is_put_back(stage: Any) -> None:
    """Dropped, or somebody else's: then a refusal must stay one that the proxy understands."""

    def late() -> None:
        with stage.pair.connect("shop", "shop_app") as app, pytest.raises(psycopg.errors.OperationalError) as refused:
            app.execute("UPDATE orders_order SET note = 'late' WHERE id = 1")
        assert refused.value.sqlstate == "40S01"

    stage.shop.execute("UPDATE strangle_ownership SET owner = 'target'")
    with connect("default", "test") as conn:
        late()
        owner = conn.execute("SELECT sequenceowner FROM pg_sequences WHERE sequencename = 'strangle_refused_orders'")
        assert owner.fetchone() == ("shop_owner",), "whoever installs a fence anew must be able to let it count"
        stage.shop.execute("DROP SEQUENCE strangle_refused_orders")
        late()
        found = [each for each in inspect(conn, stage.compiled.source) if each.status is not Status.INSTALLED]
        assert [str(each.object) for each in found] == ["the counter of refused writes"]
        install(conn, stage.compiled.source, wait=lambda _: None)
        late()
        assert refusals(conn, "orders") == 1


@pytest.mark.parametrize("statement", ["TRUNCATE orders_orderline", "TRUNCATE catalog_category CASCADE"])
def test_a_truncation_that_reaches_a_captured_table_in_any_way_is_refused_with_the_remedy(
    stage: Any, statement: str
) -> None:
    before = stage.shop.execute("SELECT count(*) FROM orders_orderline").fetchone()
    with pytest.raises(Exception, match="is refused while context orders is captured") as caught:
        stage.shop.execute(statement)
    assert "use DELETE" in str(caught.value.diag.message_hint)
    assert stage.shop.execute("SELECT count(*) FROM orders_orderline").fetchone() == before
