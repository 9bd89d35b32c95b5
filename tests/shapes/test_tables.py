"""Tables that are partitioned, columns that the database fills, and tables that cannot be carried."""

from collections.abc import Callable

import pytest

from migration_tools.capture.installation import Status, inspect, install
from migration_tools.errors import PlaybookError
from migration_tools.playbook import Projection
from migration_tools.playbook.compiled import compile_playbook
from migration_tools.stores.postgres import connect
from migration_tools.verification.repair import repair
from migration_tools.verification.verify import Sides, verify
from tests.shapes.scene import Shape

pytestmark = pytest.mark.thorough

Shaped = Callable[..., Shape]

PARTITIONS = [
    "CREATE TABLE {0} (id bigint, year int, note text, PRIMARY KEY (id, year)) PARTITION BY LIST (year)",
    "CREATE TABLE {0}_2025 PARTITION OF {0} FOR VALUES IN (2025)",
    "CREATE TABLE {0}_2026 PARTITION OF {0} FOR VALUES IN (2026) PARTITION BY RANGE (id)",
    "CREATE TABLE {0}_2026_low PARTITION OF {0}_2026 FOR VALUES FROM (MINVALUE) TO (100)",
    "CREATE TABLE {0}_2026_high PARTITION OF {0}_2026 FOR VALUES FROM (100) TO (MAXVALUE)",
]
EVENT = Projection("shapes.Event", into="svc_event", key={"id": "id", "year": "year"}, columns={"note": "note"})
EVENTS = {"events": ("SELECT id, year, note FROM shapes_event", "SELECT id, year, note FROM svc_event")}


def test_a_partitioned_table_goes_there_and_back_whichever_table_a_statement_names(shaped: Shaped) -> None:
    shape = shaped(
        [EVENT],
        EVENTS,
        source=[
            *(statement.format("shapes_event") for statement in PARTITIONS),
            "INSERT INTO shapes_event SELECT n * 10, 2025 + n % 2, 'n' || n FROM generate_series(1, 20) n",
        ],
        target=[statement.format("svc_event") for statement in PARTITIONS],
    )
    shape.carry(
        live=[
            "UPDATE shapes_event SET year = 2026 WHERE id = 20",  # a row moves between partitions
            "UPDATE shapes_event_2025 SET note = 'by its partition'",
            "UPDATE shapes_event_2026_low SET note = 'by the last of them' WHERE id < 50",
            "UPDATE shapes_event_2026 SET id = id + 105 WHERE id = 90",  # from low to high
            "DELETE FROM shapes_event_2026_high WHERE id = 190",
            "INSERT INTO shapes_event_2025 VALUES (1, 2025, 'straight in')",
        ],
        back=[
            "UPDATE svc_event_2025 SET note = 'back'",
            "UPDATE svc_event SET year = 4051 - year WHERE id < 50",
            "DELETE FROM svc_event_2026_low",
        ],
    )


def test_the_fence_refuses_a_statement_that_names_a_partition(shaped: Shaped) -> None:
    shape = shaped(
        [EVENT],
        EVENTS,
        source=[statement.format("shapes_event") for statement in PARTITIONS],
        target=["CREATE TABLE svc_event (id bigint, year int, note text, PRIMARY KEY (id, year))"],
    )
    from migration_tools.capture.models import Side

    shape.copy_between()
    shape.hand_over(Side.TARGET)
    for name in ("shapes_event", "shapes_event_2025", "shapes_event_2026", "shapes_event_2026_low"):
        with pytest.raises(Exception, match="is not owned here"):
            shape.shop.execute(f"INSERT INTO {name} VALUES (1, 2025, 'x')")


def test_a_partition_that_came_or_went_without_a_write_is_found_and_mended(shaped: Shaped) -> None:
    shape = shaped(
        [EVENT],
        EVENTS,
        source=[
            *(statement.format("shapes_event") for statement in PARTITIONS),
            "INSERT INTO shapes_event SELECT n * 10, 2025 + n % 2, 'n' || n FROM generate_series(1, 20) n",
        ],
        target=["CREATE TABLE svc_event (id bigint, year int, note text, PRIMARY KEY (id, year))"],
    )
    shape.copy_between()
    for statement in (
        "CREATE TABLE shapes_event_2027 (id bigint NOT NULL, year int NOT NULL, note text, PRIMARY KEY (id, year))",
        "INSERT INTO shapes_event_2027 VALUES (1, 2027, 'came along')",
        "ALTER TABLE shapes_event ATTACH PARTITION shapes_event_2027 FOR VALUES IN (2027)",
        "ALTER TABLE shapes_event DETACH PARTITION shapes_event_2025",
    ):
        shape.shop.execute(statement)
    with connect("default", "test") as source, connect("orders", "test") as target:
        declared = compile_playbook(shape.playbook(), source, target).source
        wrong = [f for f in inspect(source, declared) if f.status is not Status.INSTALLED]
        assert [(each.object, each.status) for each in wrong] == [
            ("triggers on shapes_event_2027", Status.MISSING),
            ("capture of shapes_event_2025", Status.UNDECLARED),
        ]
        install(source, declared, wait=lambda _: None)
        assert {each.status for each in inspect(source, declared)} == {Status.INSTALLED}
    with shape.ends() as ends, connect("orders", "test reader") as reader:
        report = verify(Sides(ends=ends, receiver_reader=reader, direction="forward"))
        found = [each for result in report.tables for each in result.differences]
        assert {each.kind.value for each in found} == {"missing", "extra"}
        repair(ends, found)
    shape.write(
        ["UPDATE shapes_event_2027 SET note = 'captured'", "INSERT INTO shapes_event_2025 VALUES (5, 2025, 'x')"]
    )
    assert shape.differences() == []


def test_columns_that_the_database_fills_go_there_and_back(shaped: Shaped) -> None:
    """Identity, GeneratedField, db_default; on the target an identity that is ALWAYS generated."""
    shape = shaped(
        [
            Projection(
                "shapes.Reading",
                into="svc_reading",
                key={"id": "id"},
                columns={"label": "label", "loud": "loud", "at": "made_at", "weight": "weight"},
            )
        ],
        {
            "readings": (
                "SELECT id, label, loud, made_at, weight FROM shapes_reading",
                "SELECT id, label, loud, at, weight FROM svc_reading",
            ),
            "doubled": ("SELECT id, weight * 2 FROM shapes_reading", "SELECT id, doubled FROM svc_reading"),
        },
        source=["INSERT INTO shapes_reading (label) SELECT 'r' || n FROM generate_series(1, 12) n"],
        target=[
            """CREATE TABLE svc_reading (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, label text NOT NULL,
               loud text, at timestamptz NOT NULL DEFAULT now(), weight int NOT NULL,
               doubled int GENERATED ALWAYS AS (weight * 2) STORED, own text NOT NULL DEFAULT 'service')"""
        ],
    )
    from tests.shapes.models import Reading

    shape.copy_between()
    Reading.objects.create(label="by the ORM")
    Reading.objects.bulk_create([Reading(label="bulk", weight=1)])
    shape.carry(
        live=["UPDATE shapes_reading SET label = 'new', weight = DEFAULT WHERE id < 4"],
        back=[
            "UPDATE svc_reading SET label = 'loud', loud = 'LOUD', weight = 3",
            """INSERT INTO svc_reading (id, label, loud, weight) OVERRIDING SYSTEM VALUE
               VALUES (500, 'made there', 'MADE THERE', 1)""",
        ],
    )
    assert shape.orders.execute("SELECT DISTINCT own FROM svc_reading").fetchall() == [("service",)]


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_table_without_a_key_is_refused_with_the_remedy(shaped: Shaped, side: str) -> None:
    dropped = {
        "source": ["ALTER TABLE shapes_tag DROP CONSTRAINT shapes_tag_pkey CASCADE"],
        "target": ["CREATE TABLE svc_tag (id bigint PRIMARY KEY, name text)"],
    }
    if side == "target":
        dropped = {"source": [], "target": ["CREATE TABLE svc_tag (id bigint, name text)"]}
    with pytest.raises(PlaybookError, match="has no primary key; add one"):
        shaped([Projection("shapes.Tag", into="svc_tag", key={"id": "id"}, columns={"name": "name"})], {}, **dropped)
