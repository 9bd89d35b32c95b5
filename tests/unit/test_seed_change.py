"""The change that the seed document shows (S1, lines 538 to 567), written by us and compared field by field."""

from decimal import Decimal

from migration_tools.messaging.foreign.envelopes import Origin, write_change
from migration_tools.stores.postgres.pgoutput import Change, ChangeKind, LoggedTable

#: As the document has it. Its ts_ms is 2024-01-15T10:20:00Z, a year before its created_at: when it was captured, not
#: when the row was made, so the two need not agree.
SEED = {
    "before": None,
    "after": {"id": 123, "customer_id": 456, "total": 99.99, "created_at": "2025-01-15T10:00:00Z"},
    "op": "c",
    "ts_ms": 1705314000000,
}
TOPIC = "postgres.public.orders"
INT8, NUMERIC, TIMESTAMPTZ = 20, 1700, 1184

ORDERS = LoggedTable(
    schema="public",
    name="orders",
    columns=("id", "customer_id", "total", "created_at"),
    types=(INT8, INT8, NUMERIC, TIMESTAMPTZ),
    identity=frozenset({"id"}),
    whole=False,
)


def test_the_documents_change_has_its_topic_and_every_one_of_its_fields() -> None:
    new = ("123", "456", "99.99", "2025-01-15 10:00:00+00")
    change = Change(kind=ChangeKind.INSERT, table=ORDERS, old=None, new=new, lsn=0x16B3748)
    origin = Origin(
        key=("id",), database="shop", prefix="postgres", xid=571, committed=1705314000.0, last_commit=None,
        now=1705314000.0,
    )  # fmt: skip
    (message,) = write_change(change, origin)
    assert message.topic == TOPIC
    assert message.value is not None
    payload = message.value["payload"]
    assert {name: payload[name] for name in ("before", "op", "ts_ms")} == {
        name: SEED[name] for name in ("before", "op", "ts_ms")
    }
    after = {**payload["after"], "total": float(Decimal(payload["after"]["total"]))}
    assert after == SEED["after"]
    assert payload["after"]["total"] == "99.99", "money is text, which loses no digit (decimal.handling.mode=string)"
    source = payload["source"]
    assert (source["lsn"], source["txId"], source["db"], source["schema"], source["table"]) == (
        0x16B3748, 571, "shop", "public", "orders",
    )  # fmt: skip
