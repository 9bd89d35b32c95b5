"""Debezium's and Maxwell's messages as input: golden samples, and each change applied once whatever is sent again."""

import base64
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from migration_tools.kernel import points
from migration_tools.messaging.foreign import FieldSchema, UnusableChange
from migration_tools.messaging.foreign.encodings import text_of
from migration_tools.transfer.foreign import ForeignFeed
from tests.conftest import Cluster, Pair, cloned_pair

TABLE = """CREATE TABLE crm_customer (id bigint PRIMARY KEY, email text UNIQUE, born date, seen timestamptz,
    credit numeric(12,2), notes jsonb, photo bytea, tags text[], vip boolean)"""
DEBEZIUM = {"FORMAT": "debezium", "TOKEN": "door", "TABLES": {"public.customers": {"into": "crm_customer"}}}
MAXWELL = {"FORMAT": "maxwell", "TABLES": {"crm.customers": {"into": "crm_customer"}}}


@pytest.fixture(scope="module")
def site(cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any) -> Iterator[Pair]:
    """One pair of databases for all of these tests."""
    with cloned_pair(cluster, templates, django_db_blocker) as made:
        yield made


@pytest.fixture
def crm(site: Pair, settings: Any) -> Iterator[Any]:
    """An empty table for a feed of each format."""
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "FOREIGN": {"crm": DEBEZIUM, "old": MAXWELL}}
    with site.connect("shop") as conn:
        conn.execute("DROP TABLE IF EXISTS crm_mirror, crm_customer")
        conn.execute("DELETE FROM strangle_foreign_row")
        conn.execute(TABLE)
        yield conn


def event(operation: str, lsn: int, before: Any, after: Any, **source: Any) -> str:
    """A change event as PostgreSQL's connector writes it without schemas."""
    return json.dumps(
        {
            "before": before,
            "after": after,
            "source": {
                "version": "3.0.0.Final",
                "connector": "postgresql",
                "name": "crm",
                "ts_ms": 1_700_000_000_000,
                "snapshot": "true" if operation == "r" else "false",
                "db": "crm",
                "schema": "public",
                "table": "customers",
                "txId": 700,
                "lsn": lsn,
                **source,
            },
            "op": operation,
            "ts_ms": 1_700_000_000_100,
            "transaction": None,
        }
    )


def die() -> None:
    """Be killed."""
    raise ConnectionError("killed")


def emails(conn: Any) -> dict[int, str]:
    """What is there."""
    return dict(conn.execute("SELECT id, email FROM crm_customer").fetchall())


def test_a_streams_life_of_a_row_with_tombstone_heartbeat_and_repetition(crm: Any) -> None:
    story = [
        event("r", 100, None, {"id": 1, "email": "a"}),
        event("c", 110, None, {"id": 2, "email": "b"}),
        event("u", 120, None, {"id": 1, "email": "a2"}),
        event("d", 130, {"id": 2}, None),
        None,
        json.dumps({"ts_ms": 1_700_000_000_000}),
        json.dumps({"status": "BEGIN", "id": "700:100", "event_count": None}),
        event("c", 140, None, {"id": 2, "email": "b2"}),
    ]
    feed = ForeignFeed("crm")
    done = feed.ingest(story)
    assert (done.applied, done.ignored) == (5, 3)
    assert emails(crm) == {1: "a2", 2: "b2"}
    with points.on("foreign.after_commit", die), pytest.raises(ConnectionError):
        feed.ingest([event("c", 150, None, {"id": 3, "email": "c"})])
    assert feed.ingest([*story[1:], event("c", 150, None, {"id": 3, "email": "c"})]).applied == 0
    assert emails(crm) == {1: "a2", 2: "b2", 3: "c"}


def test_a_message_with_its_schema_says_itself_how_values_are_written(crm: Any) -> None:
    fields = [
        {"field": "id", "type": "int64", "optional": False},
        {"field": "born", "type": "int32", "name": "io.debezium.time.Date"},
        {"field": "seen", "type": "string", "name": "io.debezium.time.ZonedTimestamp"},
        {
            "field": "credit",
            "type": "bytes",
            "name": "org.apache.kafka.connect.data.Decimal",
            "parameters": {"scale": "2", "connect.decimal.precision": "12"},
        },
        {"field": "notes", "type": "string", "name": "io.debezium.data.Json"},
        {"field": "photo", "type": "bytes"},
        {"field": "tags", "type": "array", "items": {"type": "string"}},
        {"field": "vip", "type": "boolean"},
    ]
    row = {
        "id": 7,
        "born": 10_957,
        "seen": "2024-02-29T12:00:00.123456Z",
        "credit": base64.b64encode((-12_345).to_bytes(3, "big", signed=True)).decode(),
        "notes": '{"b": 1e400, "a": "ü"}',
        "photo": base64.b64encode(b"\x00\xff").decode(),
        "tags": ["x", 'y"', None],
        "vip": True,
    }
    payload = json.loads(event("c", 1, None, row))
    schema = {"type": "struct", "fields": [{"field": "after", "type": "struct", "fields": fields}]}
    ForeignFeed("crm").ingest([json.dumps({"schema": schema, "payload": payload})])
    found = crm.execute(
        "SELECT born::text, seen::text, credit, notes::text, photo, tags, vip FROM crm_customer"
    ).fetchone()
    assert found[0] == "2000-01-01"
    assert found[1].startswith("2024-02-29 12:00:00.123456")
    assert str(found[2]) == "-123.45"
    assert '"ü"' in found[3]
    assert found[4:] == (b"\x00\xff", ["x", 'y"', None], True)


@pytest.mark.parametrize(
    ("name", "kind", "value", "type_name", "text"),
    [
        ("io.debezium.time.MicroTimestamp", "int64", -1, "timestamp without time zone", "1969-12-31 23:59:59.999999"),
        ("io.debezium.time.Timestamp", "int64", 1, "timestamp without time zone", "1970-01-01 00:00:00.001000"),
        ("io.debezium.time.NanoTimestamp", "int64", 5_000, "timestamp without time zone", "1970-01-01 00:00:00.000005"),
        ("io.debezium.time.MicroTime", "int64", 86_400_000_000, "time without time zone", "24:00:00"),
        ("org.apache.kafka.connect.data.Time", "int32", 1_500, "time without time zone", "00:00:01.500000"),
        ("io.debezium.data.VariableScaleDecimal", "struct", {"scale": 3, "value": "Bw=="}, "numeric", "0.007"),
        ("io.debezium.data.VariableScaleDecimal", "struct", {"scale": -2, "value": "Bw=="}, "numeric", "700"),
        (None, "string", "NaN", "numeric", "NaN"),
    ],
)
def test_each_encoding_of_the_default_modes_is_read(
    name: str | None, kind: str, value: Any, type_name: str, text: str
) -> None:
    assert text_of(value, FieldSchema(type=kind, name=name, parameters={}), type_name, {}) == text


@pytest.mark.parametrize(
    ("value", "type_name", "remedy"),
    [
        (1_700_000_000_000, "timestamp without time zone", "timestamps"),
        ("MTIz", "numeric(12,2)", "decimal.handling.mode=string"),
        ("AAE=", "bytea", "bytes"),
        (86_400_000_000, "interval", "interval.handling.mode=string"),
    ],
)
def test_what_could_mean_two_things_is_refused_with_the_setting_that_says_which(
    value: Any, type_name: str, remedy: str
) -> None:
    with pytest.raises(UnusableChange, match=remedy):
        text_of(value, None, type_name, {})


REFUSED = [
    (json.dumps({"id": 1, "email": "x", "__deleted": "false"}), "ExtractNewRecordState"),
    (event("t", 5, None, None), "truncated at its source"),
    (event("d", 5, None, None), "REPLICA IDENTITY FULL"),
    (event("c", 5, None, {"email": "without its key"}), "lacks a part of its key"),
    (event("c", 5, None, {"id": 1, "unknown": 1}), "name the columns"),
    (event("u", 5, None, {"id": 9, "email": "__debezium_unavailable_value"}), "take a snapshot"),
    (event("c", 5, None, {"id": 1}).replace('"lsn": 5', '"lsn": null'), "source.lsn"),
]


def test_what_cannot_be_applied_is_refused_and_nothing_of_its_batch_is(crm: Any) -> None:
    for message, remedy in REFUSED:
        with pytest.raises(UnusableChange, match=remedy):
            ForeignFeed("crm").ingest([event("c", 1, None, {"id": 50, "email": "before it"}), message])
        assert emails(crm) == {}, remedy


def test_a_large_value_that_did_not_change_stays(crm: Any) -> None:
    feed = ForeignFeed("crm")
    feed.ingest([event("c", 1, None, {"id": 1, "email": "large", "vip": False})])
    feed.ingest([event("u", 2, None, {"id": 1, "email": "__debezium_unavailable_value", "vip": True})])
    feed.ingest([event("u", 3, None, {"id": 1, "email": "small", "vip": True})])
    feed.ingest([event("u", 4, None, {"id": 1, "email": "__debezium_unavailable_value", "vip": False})])
    assert crm.execute("SELECT email, vip FROM crm_customer").fetchall() == [("small", False)]


def test_rows_of_one_copy_share_a_place_in_the_log_and_all_arrive(crm: Any) -> None:
    feed = ForeignFeed("crm")
    for number in range(5):
        feed.ingest([event("c", 77, None, {"id": number, "email": str(number)})])
    assert len(emails(crm)) == 5


def test_a_mark_per_feed_would_lose_them(crm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The idempotence that everybody writes first: skip what is not above the highest place seen."""
    highest = [0]

    def naive(row: Any, columns: Any, change: Any) -> bool:
        if change.position[0] <= highest[0]:
            return False
        highest[0] = change.position[0]
        row.columns, row.touched, row.position = columns, True, change.position
        return True

    monkeypatch.setattr("migration_tools.transfer.foreign._take", naive)
    test_feed = ForeignFeed("crm")
    for number in range(5):
        test_feed.ingest([event("c", 77, None, {"id": number, "email": str(number)})])
    assert len(emails(crm)) == 1


@pytest.mark.parametrize("seed", range(2))
def test_a_stream_redelivered_from_random_places_ends_as_its_source(crm: Any, seed: int) -> None:
    dice = random.Random(seed)
    rows: dict[int, str] = {}
    history: list[str] = [event("r", 10, None, {"id": n, "email": f"{n} old"}) for n in range(4)]
    rows = {n: f"{n} old" for n in range(4)}
    for lsn in range(20, 120):
        key = dice.randrange(8)
        if key in rows and dice.random() < 0.3:
            del rows[key]
            history += [event("d", lsn, {"id": key}, None)]
        else:
            history += [event("u" if key in rows else "c", lsn, None, {"id": key, "email": f"{key} {lsn}"})]
            rows[key] = f"{key} {lsn}"
    feed, at = ForeignFeed("crm"), 0
    while at < len(history):
        end = min(at + dice.randrange(1, 15), len(history))
        if dice.random() < 0.3:
            with points.on("foreign.before_commit", die), pytest.raises(ConnectionError):
                feed.ingest(history[at:end])
        feed.ingest(history[at:end])
        # Kafka goes back to the last committed offset and sends everything from there again, in order.
        at = end if dice.random() < 0.6 else max(0, end - dice.randrange(30))
    assert emails(crm) == rows
    assert feed.ingest([each for each in history if '"op": "r"' not in each]).applied == 0


def test_a_unique_value_that_goes_from_row_to_row_in_one_batch_is_followed(crm: Any) -> None:
    feed = ForeignFeed("crm")
    feed.ingest([event("c", n, None, {"id": n, "email": str(n)}) for n in (1, 2)])
    feed.ingest(
        [
            event("u", 11, None, {"id": 1, "email": None}),
            event("u", 12, None, {"id": 2, "email": "1"}),
            event("u", 13, None, {"id": 1, "email": "2"}),
        ]
    )
    assert emails(crm) == {1: "2", 2: "1"}


def row_event(kind: str, position: int, data: Any, *, old: Any = None, xoffset: int | None = None) -> str:
    """A row as Maxwell writes it with its position."""
    message = {"database": "crm", "table": "customers", "type": kind, "ts": 1_700_000_000, "xid": 9, "data": data}
    message["position"] = f"master.000003:{position}"
    message.update({"old": old} if old is not None else {})
    message.update({"commit": True} if xoffset is None else {"xoffset": xoffset})
    return json.dumps(message)


def test_maxwells_rows_are_applied_once_and_a_key_that_changed_ends(crm: Any) -> None:
    story = [
        json.dumps({"database": "crm", "table": "customers", "type": "bootstrap-start", "ts": 1, "data": {}}),
        json.dumps(
            {
                "database": "crm",
                "table": "customers",
                "type": "bootstrap-insert",
                "ts": 1,
                "data": {"id": 1, "email": "a"},
            }
        ),
        row_event("insert", 100, {"id": 2, "email": "b", "credit": 10.50, "seen": "2024-01-02 03:04:05"}, xoffset=0),
        row_event("update", 100, {"id": 2, "email": "b2", "credit": 10.50}, old={"email": "b"}),
        row_event("update", 200, {"id": 3, "email": "c"}, old={"id": 2, "email": "b2"}),
        row_event("delete", 300, {"id": 1, "email": "a"}),
        json.dumps(
            {
                "database": "crm",
                "table": "other",
                "type": "insert",
                "ts": 1,
                "data": {"id": 1},
                "position": "m.1:4",
                "commit": True,
            }
        ),
        json.dumps({"database": "crm", "table": "customers", "type": "table-alter", "ts": 1}),
    ]
    feed = ForeignFeed("old")
    feed.ingest(story)
    assert emails(crm) == {3: "c"}
    assert feed.ingest(story[2:]).applied == 0
    assert emails(crm) == {3: "c"}


def test_a_statement_that_shifts_keys_ends_and_writes_the_same_one(crm: Any) -> None:
    """UPDATE … SET id = id + 1: both rows stand at one place of the binary log, in either order."""
    shift = [
        row_event("update", 500, {"id": 2, "email": "a"}, old={"id": 1}),
        row_event("update", 500, {"id": 3, "email": "b"}, old={"id": 2}),
    ]
    for number, order in enumerate((shift, shift[::-1])):
        crm.execute("DELETE FROM crm_customer")
        crm.execute("DELETE FROM strangle_foreign_row")
        feed = ForeignFeed("old")
        feed.ingest([row_event("insert", 1, {"id": n, "email": e}) for n, e in ((1, "a"), (2, "b"))])
        feed.ingest(order)
        assert emails(crm) == {2: "a", 3: "b"}, number


def test_maxwell_without_positions_is_refused_with_its_option(crm: Any) -> None:
    del crm
    message = row_event("insert", 1, {"id": 1}).replace('"position"', '"elsewhere"')
    with pytest.raises(UnusableChange, match="output_binlog_position=true"):
        ForeignFeed("old").ingest([message])
