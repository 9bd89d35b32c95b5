"""A small replica for the tests of adapters: goods, of each kind of value one."""

from migration_tools.stores.ports import Column, Shape, Store, Values, VersionedRow

COLUMNS = {
    "id": "bigint", "title": "text", "price": "numeric(12,2)", "seen": "date", "raw": "bytea", "sold": "boolean"
}  # fmt: skip
SHAPE = Shape(
    name="shop.goods",
    into="shop_goods",
    key=("id",),
    columns=tuple(Column(name=name, type=kind) for name, kind in COLUMNS.items()),
    declaration="1",
)


def row(key: int, version: int, title: str | None = "red lamp", price: str = "1.50") -> VersionedRow:
    """A row of goods at a version."""
    values: Values = (str(key), title, price, "2026-01-02", "\\x00ff", "true")
    return VersionedRow(key=(str(key),), version=version, values=values)


def gone(key: int, version: int) -> VersionedRow:
    """The end of a row."""
    return VersionedRow(key=(str(key),), version=version, values=None)


def held(store: Store) -> dict[tuple[str, ...], int]:
    """The versions of the first rows, by key; those that are scanned are those that are read."""
    found = store.read(SHAPE, [(str(key),) for key in range(20)])
    assert {key for key, _ in store.scan(SHAPE, 1, [0])} == set(found)
    return {key: each.version for key, each in found.items()}
