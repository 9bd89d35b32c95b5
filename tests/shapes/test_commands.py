"""Awkward shapes carried by the commands themselves, from the first phase to the last, and back in between."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from migration_tools.playbook import Transform
from migration_tools.state.journal import phase_of
from tests.conftest import Pair
from tests.shapes import functions, playbook
from tests.shapes.scene import Shape, run_all

pytestmark = pytest.mark.thorough

SERVICE_WRITES = [
    "INSERT INTO svc_seat (room, guest) SELECT 'a', 'NEW!' FROM generate_series(1, 5)",
    "UPDATE svc_seat SET room = 'z' WHERE room = 'b'",
    "UPDATE svc_part SET whole_id = NULL WHERE id IN (3, 9)",
    "INSERT INTO svc_part VALUES (100, 'x', 100)",
    "DELETE FROM svc_labels WHERE label_id = 2",
    "INSERT INTO svc_label VALUES (99, 'late')",
    "INSERT INTO svc_labels (text_id, label_id) SELECT id, 99 FROM svc_text",
    # Who owns both tables keeps the column that one has of the other.
    "UPDATE svc_place SET title = upper(title)",
    "UPDATE svc_restaurant SET title = upper(title)",
    "UPDATE svc_restaurant SET stars = 5 WHERE place_id < 7",
    """INSERT INTO svc_comment (id, text, kind)
       SELECT 900 + n, 'from the service', 'auth.group' FROM generate_series(1, 5) n""",
]
MONOLITH_WRITES = [
    "INSERT INTO shapes_seat (hall, taken_by) SELECT 'a', 'again' FROM generate_series(1, 5)",
    "UPDATE shapes_part SET whole_id = 5 WHERE id = 100",
    "INSERT INTO shapes_article_tags (article_id, tag_id) SELECT id, 2 FROM shapes_article",
    "UPDATE shapes_place SET name = 'renamed' WHERE id = 2",
    """INSERT INTO shapes_comment (id, text, content_type_id)
       SELECT 950 + n, 'again', (SELECT min(id) FROM django_content_type) FROM generate_series(1, 5) n""",
]


class Commands(Shape):
    """The shapes, with nothing installed yet: the commands do it."""

    def __init__(self, pair: Pair, tmp_path: Path):
        self.pair, self.views = pair, playbook.VIEWS
        self.shop, self.orders = pair.connect("shop"), pair.connect("orders")
        self.directory = str(tmp_path)

    def run(self, command: str, *args: str) -> dict[str, Any]:
        out = StringIO()
        call_command(command, self.stream, *args, "--format", "json", stdout=out)
        return json.loads(out.getvalue())

    def go(self, *commands: str) -> None:
        for command in commands:
            self.run(*command.split())

    def equal(self, *, reverse: bool = False) -> None:
        """By the product, which awaits nothing but its own stop, and then by hand."""
        self.run("strangle_verify", "--runs", "1", "--directory", self.directory)
        assert self.differences() == [], self.differences()


@pytest.fixture
def commands(shaped: Callable[..., Shape], pair: Pair, settings: Any, tmp_path: Path) -> Iterator[Commands]:
    """The playbook before its first phase; relays and consumers of both directions run."""
    mine = {"PLAYBOOKS": ["tests.shapes.playbook"], "TRANSFORM_WORKERS": 0}
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, **mine}
    with pair.connect("shop") as shop, pair.connect("orders") as orders:
        run_all(shop, playbook.SOURCE)
        run_all(orders, playbook.TARGET)
    made = Commands(pair, tmp_path)
    with ExitStack() as stack:
        stack.callback(made.close)
        stack.enter_context(made.running())
        stack.enter_context(made.running(reverse=True))
        yield made


def test_awkward_shapes_are_carried_to_the_decommission_with_a_rollback_on_the_way(commands: Commands) -> None:
    said = commands.run("strangle_dual_write")
    assert said["phase_after"] == "dual_write"
    commands.shop.execute("UPDATE shapes_seat SET taken_by = 'early' WHERE hall = 'a'")
    plan = commands.run("strangle_backfill", "--dry-run")["plan"]
    assert any("Python makes 'guest' by 'tests.shapes.functions:shout'" in each and "rows/s" in each for each in plan)
    commands.go("strangle_backfill", "strangle_verify", "strangle_switch_reads --percent 100", "strangle_cutover")
    used = numbers(commands.shop, "shapes_seat", "number"), numbers(commands.shop, "shapes_comment", "object_id")
    run_all(commands.orders, SERVICE_WRITES)
    assert fresh(commands.orders, "svc_seat", "row_no", "guest = 'NEW!'", used[0])
    assert fresh(commands.orders, "svc_comment", "object_id", "id > 900", used[1])
    commands.equal()
    commands.run("strangle_rollback")
    used = numbers(commands.orders, "svc_seat", "row_no"), numbers(commands.orders, "svc_comment", "object_id")
    run_all(commands.shop, MONOLITH_WRITES)
    assert fresh(commands.shop, "shapes_seat", "number", "taken_by = 'again'", used[0])
    assert fresh(commands.shop, "shapes_comment", "object_id", "id > 950", used[1])
    commands.equal()
    commands.go("strangle_verify", "strangle_cutover")
    commands.run("strangle_decommission", "--directory", commands.directory)
    assert phase_of("shapes") == "decommission"
    assert commands.shop.execute("SELECT to_regclass('public.shapes_seat')").fetchone() == (None,)
    run_all(commands.orders, ["UPDATE svc_seat SET guest = 'AFTER!' WHERE room = 'a'"])
    commands.run("strangle_rollback")
    commands.equal()
    assert commands.shop.execute("SELECT DISTINCT taken_by FROM shapes_seat WHERE hall = 'a'").fetchall() == [
        ("after",)
    ]


def numbers(conn: Any, table: str, column: str) -> set[int]:
    """Every value of a column."""
    return {row[0] for row in conn.execute(f"SELECT {column} FROM {table}")}


def fresh(conn: Any, table: str, column: str, where: str, used: set[int]) -> bool:
    """Whether five values were drawn for these rows, none of them used before by anybody."""
    drawn = [row[0] for row in conn.execute(f"SELECT {column} FROM {table} WHERE {where}")]
    return len(drawn) == len(set(drawn)) == 5 and not used & set(drawn)


def test_a_mapping_that_is_not_pure_is_refused_before_anything_is_installed(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    seat = playbook.Shapes.projections[0]
    monkeypatch.setitem(seat.columns, "guest", Transform(functions.counting, "taken_by"))
    with pytest.raises(CommandError, match="otherwise the second time") as caught:
        commands.run("strangle_dual_write")
    assert caught.value.returncode == 8
    assert commands.shop.execute("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'strangle%'").fetchone() == (0,)
