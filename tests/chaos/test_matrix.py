"""The fault matrix, cell by cell: whoever dies wherever, the same command completes it and nothing is lost."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from migration_tools.testing.brokers import EmbeddedRedis
from tests import both_sides
from tests.chaos import cells, page
from tests.chaos.cells import Cell
from tests.chaos.crossroads import Crossroads, opened
from tests.chaos.elsewhere import ELSEWHERE
from tests.chaos.trial import hold, run_cell, settle
from tests.chaos.world import BACK, eventually
from tests.conftest import ROOT
from tests.integration.transport_rig import made

KEEP = "strangle_decommission --keep-copies"
CELLS = cells.in_every_test_run(cells.all_cells())
# `make test` has time for every fifth of the hand-overs' own and every ninth of the others, `make test-thorough` for
# the rest.
SHORT = [cell for place, cell in enumerate(CELLS) if place % (5 if cell.point.startswith("handover.") else 9) == 0]
MARKS = {cell: () if cell in SHORT else (pytest.mark.thorough,) for cell in CELLS}


@pytest.fixture(scope="module")
def crossroads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossroads]:
    """A cluster of this module's own, because it will be killed, and every phase on it."""
    directory = tmp_path_factory.mktemp("chaos")
    for each in (directory, *directory.parents[:2]):
        each.chmod(0o755)  # PostgreSQL runs as somebody else
    with opened(directory) as found:
        yield found


@pytest.mark.parametrize("cell", [pytest.param(c, id=c.name, marks=MARKS[c]) for c in CELLS])
def test_a_cell_loses_nothing(crossroads: Crossroads, cell: Cell) -> None:
    run_cell(crossroads, cell)


@pytest.mark.thorough
def test_a_relay_killed_between_the_brokers_word_and_its_own_loses_nothing(crossroads: Crossroads) -> None:
    with made(EmbeddedRedis) as broker:
        env = {"STRANGLE_TRANSPORT": "kombu", "STRANGLE_BROKER_URL": broker.url}
        with crossroads.at("backfill", **env) as world:
            with crossroads.busy(world) as ledger:
                world.living["relay"].kill()
                victim = world.serve("relay", points="publication.confirmed=kill@3")
                assert victim.wait(20) == -signal.SIGKILL, victim.said()
                world.revive()
                world.insist("strangle_verify")
            settle(world, ledger)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("point", "cut_off", "then"),
    [
        ("keeping.noted", KEEP, KEEP),
        ("keeping.writes_taken", KEEP, BACK),
        ("keeping.writes_given", BACK, BACK),
    ],
)
def test_copies_that_are_kept_lose_nothing_when_the_operator_dies(
    crossroads: Crossroads, point: str, cut_off: str, then: str
) -> None:
    with crossroads.at("cutover") as world:
        with crossroads.busy(world) as ledger:
            world.insist("strangle_verify")
            if cut_off is BACK:
                world.insist(KEEP)
            died = world.run_past_gates(cut_off, points=f"{point}=kill")
            assert died.status == -signal.SIGKILL, died.said()
            world.insist(then)
            assert world.phase() == ("decommission" if then is KEEP else "cutover", None)
            written = sum(ledger.acknowledged.values())
            assert eventually(lambda: sum(ledger.acknowledged.values()) > written + 20)
        if then is KEEP:
            with world.connect("shop") as shop, world.connect("orders") as orders:
                assert eventually(lambda: both_sides.differences(shop, orders) == [])
            hold(ledger, "shop")
        settle(world, ledger)


def points_of_the_code() -> set[str]:
    found = set()
    for path in (ROOT / "migration_tools").rglob("*.py"):
        found |= set(re.findall(r'points\.reached\(f?"([a-z_.{}]+)"', path.read_text()))
    return found


def missing_cells(points: set[str], measured: dict[str, dict[str, int]]) -> list[str]:
    """Points of the code that no cell cuts off; a name made at run time counts by its pattern."""
    known = {point for counts in measured.values() for point in counts} | set(ELSEWHERE)
    return sorted(p for p in points if not any(re.fullmatch(re.sub(r"\{.*?\}", ".*", p), each) for each in known))


def test_every_point_of_the_code_has_a_cell() -> None:
    """A new point: run `make chaos-table`; if no move passes it, give it a test of its own and a row in ELSEWHERE."""
    assert missing_cells(points_of_the_code(), cells.measured()) == []


def test_the_database_dies_in_every_move_of_every_test_run() -> None:
    assert {cell.move for cell in CELLS if cell.victim == "postgresql"} == set(cells.moves())


def test_a_point_without_a_cell_is_named() -> None:
    assert missing_cells({"copy.rows_written", "copy.new"}, cells.measured()) == ["copy.new"]


def test_the_table_is_what_the_moves_pass(crossroads: Crossroads) -> None:
    """The walk that the other tests stand on was measured on the way; a point that is not in the table is named."""
    known = {(move, point) for move, counts in cells.measured().items() for point in counts}
    walked = {(move, point) for move, counts in crossroads.passages.items() for point in counts}
    assert walked - known == set(), "run make chaos-table"


def test_the_page_is_the_table() -> None:
    assert page.PAGE.read_text() == page.render(), "run make chaos-table"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("DELETE FROM {orders} WHERE {public} = %(key)s", "lost"),
        ("UPDATE {orders} SET {note} = 'older' WHERE {public} = %(key)s", "wrong"),
        ("UPDATE {lines} SET {quantity} = {quantity} + 1 WHERE id = 1", "line 1 counts"),
    ],
)
def test_a_loss_on_both_sides_is_found(crossroads: Crossroads, damage: str, words: str) -> None:
    """Equal sides that both lost a write: only the customers' ledger can tell."""
    with crossroads.at("verify") as world:
        with crossroads.busy(world) as ledger:
            assert eventually(lambda: ledger.acknowledged["bump"] > 20)
            world.insist("strangle_verify")
        settle(world, ledger)
        key = next(key for key, value in ledger.possible.items() if value != {None})
        for side, names in SIDES.items():
            with world.connect(side) as conn:
                damaged(conn, damage.format(**names), key)
        with pytest.raises(AssertionError, match=words):
            settle(world, ledger)


SIDES = {
    "shop": {
        "orders": "orders_order", "lines": "orders_orderline", "public": "public_id", "note": "note",
        "quantity": "quantity",
    },
    "orders": {
        "orders": "sales_order", "lines": "sales_orderitem", "public": "public_id", "note": "remark", "quantity": "qty",
    },
}  # fmt: skip


def damaged(conn: "psycopg.Connection[tuple[object, ...]]", statement: str, key: object) -> None:
    """Do it behind every trigger's back, lines that hang on an order first."""
    with conn.transaction():
        conn.execute("SET LOCAL session_replication_role = replica")
        conn.execute("SELECT set_config('strangle.applying', 'patch', true)")
        if statement.startswith("DELETE"):
            lines = "orders_orderline" if "orders_order" in statement else "sales_orderitem"
            hang = (
                "order_id = (SELECT id FROM orders_order WHERE public_id = %(key)s)"
                if "orders_order" in statement
                else "order_public_id = %(key)s"
            )
            conn.execute(f"DELETE FROM {lines} WHERE {hang}", {"key": key})
        conn.execute(statement, {"key": key})


def test_a_resurrected_row_is_found(crossroads: Crossroads) -> None:
    with crossroads.at("verify") as world:
        with crossroads.busy(world) as ledger:
            assert eventually(lambda: ledger.acknowledged["delete"] > 2)
        settle(world, ledger)
        key = next(key for key, value in ledger.possible.items() if value == {None})
        with world.connect("shop") as conn:
            conn.execute(
                """INSERT INTO orders_order (public_id, user_id, status, total, currency, client_reference,
                       shipping_address, placed_at, updated_at)
                   VALUES (%s, 1, 'placed', 1, 'EUR', 'ledger', '{}', now(), now())""",
                [key],
            )
        with pytest.raises(AssertionError, match="resurrected"):
            settle(world, ledger)


def test_a_directory_of_a_cell_is_kept_when_it_fails(crossroads: Crossroads) -> None:
    kept: list[Path] = []

    def fail() -> None:
        with crossroads.at("backfill") as world:
            kept.append(world.directory)
            raise AssertionError("planted")

    with pytest.raises(AssertionError, match="planted"):
        fail()
    assert kept[0].exists()
