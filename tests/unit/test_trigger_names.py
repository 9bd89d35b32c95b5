"""The names of trigger functions: within PostgreSQL's limit, and no two tables with one name."""

from migration_tools.capture.declaration import TableSpec
from migration_tools.capture.triggers import function_names


def names(stream: str, table: str) -> dict[str, str]:
    return function_names(
        TableSpec(
            stream=stream, table=table, key=("id",), is_base=True, watched=(), reported=(), echoes=False, captured=True,
            fence=None,
        )
    )  # fmt: skip


def test_tables_that_begin_alike_have_names_of_their_own() -> None:
    """django-oscar has such a pair."""
    one = names("everything", "shipping_orderanditemcharges")
    other = names("everything", "shipping_orderanditemcharges_countries")
    assert not set(one.values()) & set(other.values())


def test_long_names_fit_and_short_ones_are_as_they_were() -> None:
    assert names("orders", "orders_order")["ins"] == "strangle_orders_orders_order_ins"
    for table in ("t" * 63, "ü" * 31):
        assert all(len(name.encode()) <= 63 for name in names("orders", table).values())
        assert len(set(names("orders", table).values())) == 5
