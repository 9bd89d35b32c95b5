"""Columns that Python makes: in the copy, the sync, the comparison and the way back alike, and every way to fail."""

import os
import random
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db.models import Value

from migration_tools.errors import ExitCode, PlaybookError, TransformFailed
from migration_tools.playbook import Projection, Transform
from migration_tools.stores.postgres import connect
from migration_tools.transfer import functions as transfer_functions
from migration_tools.transfer.copy import whole_relations
from migration_tools.transfer.functions import processes
from migration_tools.transfer.trial import try_functions
from migration_tools.verification.repair import repair
from migration_tools.verification.verify import Sides, verify
from tests.conftest import Pair
from tests.races.scene import Background
from tests.shapes import functions
from tests.shapes.columns import OWN_TYPES, TYPES
from tests.shapes.scene import Shape
from tests.shapes.test_values import AWKWARD, row, table, view

pytestmark = pytest.mark.thorough

Shaped = Callable[..., Shape]


@pytest.fixture(autouse=True)
def nothing_here_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tables go through other processes too, where there are any."""
    monkeypatch.setattr(transfer_functions, "HERE_FIRST", 0)


@pytest.fixture
def things(shaped: Shaped) -> Shape:
    """A table with a column of every type, each of them made by a function, both ways."""
    rows = [row(1), *(row(n, **{name: None}) for n, name in enumerate(TYPES, 2) if name != "mail")]
    made = {name: Transform(functions.same, name) for name in TYPES}
    return shaped(
        [Projection("shapes.Thing", into="svc_thing", key={"id": "id"}, columns=made, reverse=made)],
        {"things": (view("shapes_thing"), view("svc_thing"))},
        source=["SET lc_monetary = 'C'", OWN_TYPES[0], table("shapes_thing", 0), *rows],
        target=[OWN_TYPES[1], table("svc_thing", 1)],
    )


def test_values_of_every_type_go_through_python_there_and_back(things: Shape) -> None:
    inserts = [
        row(number, **{name: value})
        for number, (name, value) in enumerate(
            ((name, value) for name, values in AWKWARD.items() for value in values), 1_000
        )
    ]
    half = len(inserts) // 2
    for insert in inserts[:half]:
        things.shop.execute(insert)
    with processes(1):
        things.copy_between(inserts[half : half + 5])
    things.together(inserts[half + 5 :])
    assert things.differences() == []
    assert things.verified() == []
    things.carry(live=[], back=["UPDATE svc_thing SET txt = txt || '!', vc = left(vc, 19) || '?'"])


DOCUMENTS = (
    "SELECT id, title, body FROM shapes_document",
    "SELECT id, title, lower(rtrim(body, '!')) FROM svc_document",
)
LOUD = ("SELECT id, title, upper(body) || '!' FROM shapes_document", "SELECT id, title, body FROM svc_document")
SERVICE_TABLE = (
    "CREATE TABLE svc_document (id bigint PRIMARY KEY, title text NOT NULL, body text, tenant integer, deleted boolean)"
)


def documents(shaped: Shaped, body: Transform, back: Transform | None = None, **more: Any) -> Shape:
    """Forty documents, of which a function makes the body."""
    return shaped(
        [
            Projection(
                "shapes.Document",
                into="svc_document",
                key={"id": "id"},
                columns={"title": "title", "tenant": "tenant", "deleted": "deleted", "body": body},
                reverse={"kind": Value("letter"), **({"body": back} if back is not None else {})},
            )
        ],
        {"documents": more.get("views", LOUD)},
        source=[
            """INSERT INTO shapes_document (id, tenant, kind, title, body, deleted)
               SELECT n, 1, 'letter', 'title ' || n, CASE WHEN n % 7 > 0 THEN 'body ' || n END, n % 5 = 0
               FROM generate_series(1, 40) n""",
            *more.get("source", ()),
        ],
        target=[SERVICE_TABLE],
    )


SHOUT, WHISPER = Transform(functions.shout, "body"), Transform(functions.whisper, "body")


def test_a_function_and_its_reverse_carry_rows_there_and_back(shaped: Shaped) -> None:
    shape = documents(shaped, SHOUT, WHISPER)
    shape.carry(
        live=[
            "UPDATE shapes_document SET body = 'changed' WHERE id % 3 = 0",
            "DELETE FROM shapes_document WHERE id % 11 = 0",
            "INSERT INTO shapes_document VALUES (100, 1, 'letter', 'new', E'tab\\t line\\n \\\\ 😀', false)",
            "UPDATE shapes_document SET id = id + 1000 WHERE id IN (5, 38)",
            "UPDATE shapes_document SET body = NULL WHERE id = 8",
        ],
        back=[
            "UPDATE svc_document SET body = 'LOUD!' WHERE id = 1",
            "INSERT INTO svc_document VALUES (200, 'over there', 'HERE!', 1, false)",
            "DELETE FROM svc_document WHERE id = 2",
        ],
        again=["UPDATE shapes_document SET body = 'again' WHERE id = 200"],
    )
    assert shape.shop.execute("SELECT body FROM shapes_document WHERE id = 1").fetchone() == ("loud",)


def test_what_differs_is_found_and_classed_and_repaired_as_the_function_says(shaped: Shaped) -> None:
    shape = documents(shaped, SHOUT, WHISPER)
    shape.copy_between()
    with shape.orders.transaction():
        shape.orders.execute("SELECT set_config('strangle.applying', 'row', true)")
        shape.orders.execute("UPDATE svc_document SET body = lower(body) WHERE id = 3")
        shape.orders.execute("DELETE FROM svc_document WHERE id = 4")
        shape.orders.execute("INSERT INTO svc_document VALUES (999, 'ghost', NULL, 1, false)")
    with shape.ends() as ends, connect("orders", "test reader") as reader:
        report = verify(Sides(ends=ends, receiver_reader=reader, direction="forward"))
        found = [each for result in report.tables for each in result.differences]
        assert sorted((each.key, each.kind.value) for each in found) == [
            (("3",), "changed"),
            (("4",), "missing"),
            (("999",), "extra"),
        ]
        assert repair(ends, found).keys == 3
    assert shape.differences() == []
    assert shape.verified() == []


def test_live_writers_beside_a_copy_by_function_end_equal(shaped: Shaped, pair: Pair) -> None:
    shape = documents(shaped, SHOUT, WHISPER)
    stop = threading.Event()

    def write() -> None:
        choose = random.Random(5)
        with pair.connect("shop", "shop_app") as conn:
            while not stop.wait(0.002):
                number = choose.randrange(1, 60)
                conn.execute(
                    choose.choice(
                        [
                            "UPDATE shapes_document SET body = 'w' || clock_timestamp() WHERE id = %s",
                            "DELETE FROM shapes_document WHERE id = %s",
                            "INSERT INTO shapes_document VALUES (%s, 1, 'letter', 't', 'i', false) "
                            "ON CONFLICT DO NOTHING",
                        ]
                    ),
                    [number],
                )

    shape.shop.execute("GRANT ALL ON shapes_document TO shop_app")
    with shape.running():
        writer = Background(write)
        try:
            for _ in range(2):
                shape.copy_between()
                assert shape.verified() == []
                shape.orders.execute("DELETE FROM strangle_copied_range")
        finally:
            stop.set()
        writer.outcome()
    shape.settle()
    assert shape.differences() == []


def test_a_worker_killed_in_a_block_is_replaced_and_the_copy_goes_on(
    shaped: Shaped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = ["INSERT INTO shapes_document VALUES (50, 1, 'letter', 't', 'deadly', false)"]
    same_view = (LOUD[0].replace("upper(body) || '!'", "body"), LOUD[1])
    shape = documents(
        shaped,
        Transform(functions.dying, "body"),
        Transform(functions.dying, "body"),
        views=same_view,
        source=poison,
    )
    mark = tmp_path / "alive"
    mark.touch()
    monkeypatch.setenv("KILL_ONCE", str(mark))
    with processes(1):
        shape.copy_between()
    assert not mark.exists()
    shape.settle()
    assert shape.differences() == []


def test_a_worker_that_is_killed_every_time_ends_the_copy_with_its_checkpoint_kept(
    shaped: Shaped, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = documents(shaped, SHOUT, WHISPER)
    monkeypatch.setattr(transfer_functions, "_work", os_exit)
    monkeypatch.setattr(transfer_functions, "LOST_AT_MOST", 1)
    with processes(1), pytest.raises(TransformFailed, match="was killed 2 times"):
        shape.copy_between()
    monkeypatch.undo()
    shape.copy_between()
    assert shape.differences() == []


def os_exit(*_: Any) -> None:
    """What the kernel does to a process that takes too much memory, as far as the pool can tell."""
    os.kill(os.getpid(), 9)


def test_an_exception_names_function_table_and_key_and_no_value_and_loses_nothing(shaped: Shaped) -> None:
    same_view = (LOUD[0].replace("upper(body) || '!'", "body"), LOUD[1])
    back = Transform(functions.same, "body")
    shape = documents(shaped, Transform(functions.raising, "body"), back, views=same_view)
    shape.shop.execute("UPDATE shapes_document SET body = 'poison of Mrs Miller' WHERE id = 23")
    for count in (0, 1):
        with processes(count), pytest.raises(TransformFailed) as caught:
            shape.copy_between()
        told = str(caught.value)
        assert caught.value.exit_code == ExitCode.TRANSFORM_FAILED == 8
        assert "'tests.shapes.functions:raising', which makes 'body' of 'svc_document', raised ValueError" in told
        assert "for key 23 of 'shapes_document'" in told
        assert "Miller" not in told
        assert "Miller" not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(TransformFailed, match="for key 23"):
        shape.tick()
    shape.shop.execute("UPDATE shapes_document SET body = 'mended' WHERE id = 23")
    shape.copy_between()
    shape.settle()
    assert shape.differences() == []
    assert shape.verified() == []


def test_an_answer_that_the_column_cannot_hold_is_refused_without_its_value(shaped: Shaped) -> None:
    shape = shaped(
        [
            Projection(
                "shapes.Tag",
                into="svc_tag",
                key={"id": "id"},
                columns={"size": Transform(functions.no_number, "name", lossy=True)},
                reverse={"name": Value("x")},
            )
        ],
        {},
        source=["INSERT INTO shapes_tag VALUES (1, 'a')"],
        target=["CREATE TABLE svc_tag (id bigint PRIMARY KEY, size integer)"],
    )
    with pytest.raises(TransformFailed, match="does not fit 'svc_tag'") as caught:
        shape.copy_between()
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    shape.shop.execute("UPDATE shapes_tag SET name = 'b'")
    with pytest.raises(TransformFailed, match="does not fit 'svc_tag'") as caught:
        shape.tick()
    assert "secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("function", [functions.counting, functions.dicing, functions.unordered])
def test_a_function_that_answers_the_same_row_otherwise_is_refused(shaped: Shaped, function: Any) -> None:
    shape = documents(shaped, Transform(function, "body", lossy=True))
    # The order of a set is another one in another process only.
    with (
        processes(function is functions.unordered),
        connect("default", "t") as conn,
        pytest.raises(TransformFailed, match="otherwise the second time"),
    ):
        try_functions(conn, whole_relations(conn, shape.stream)[0])


def test_inputs_without_a_way_back_are_refused_unless_declared_lossy(shaped: Shaped) -> None:
    with pytest.raises(PlaybookError, match="'body' is made from 'body', which has no way back"):
        documents(shaped, SHOUT)


def test_a_process_calls_only_functions_that_its_settings_permit(
    shaped: Shaped, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = documents(shaped, SHOUT, WHISPER)
    shape.shop.execute(
        "UPDATE strangle_relation SET transforms = replace(transforms::text, 'tests.shapes.functions:shout',"
        " 'os:system')::jsonb"
    )
    shape.shop.execute("UPDATE shapes_document SET body = 'touch /nonexistent/x' WHERE id = 1")
    with pytest.raises(TransformFailed, match="'os:system', which this process may not"):
        shape.tick()
