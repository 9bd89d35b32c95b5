"""SECURITY.md's table of who may do what in which phase is what PostgreSQL answers, phase by phase."""

import re

import psycopg
import pytest
from psycopg import sql

from migration_tools.state.phase import Phase
from tests.conftest import ROOT
from tests.integration.test_phases import ROAD, Road, road

__all__ = ["road"]

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(150)]

KEPT, FENCED = "copies kept", "40S01"
#: A table of the context on each side, and a column that is written as it is.
TABLES = {"shop": ("orders_order", "note"), "orders": ("sales_order", "remark")}
ROLES = ("shop_app", "shop_owner", "orders_app", "orders_owner", "strangler")


def written() -> dict[tuple[str, str, str], str]:
    """What the page says: (role, side, phase) → "writes", "reads" or "nothing"."""
    text = (ROOT / "SECURITY.md").read_text().partition("## Who may do what in which phase\n")[2]
    lines = [line.strip("| \n").split("|") for line in text.splitlines() if line.startswith("|")]
    head, *body = ([cell.strip(" `") for cell in line] for line in lines)
    found = {}
    for cells in body:
        match = re.fullmatch(r"(\w+)`? on (old|new) tables", cells[0])
        if match is None:
            continue
        side = {"old": "shop", "new": "orders"}[match[2]]
        found |= {(match[1], side, phase): said for phase, said in zip(head[1:-1], cells[1:-1], strict=True)}
    return found


def rights(road: Road, role: str, side: str) -> str:
    """Try it on the table, wherever it lies by now; the fence refuses statements, so no row need be changed."""
    table, column = TABLES[side]
    place = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = %s AND relkind IN ('r', 'p')"
    with road.pair.connect(side) as conn:
        (schema,) = conn.execute(place, [table]).fetchone() or ("",)
    name, where = sql.Identifier(schema, table), sql.Identifier(column)
    may = "nothing"
    try:
        with road.pair.connect(side, role) as conn:
            conn.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(name))
            may = "reads"
            conn.execute(sql.SQL("UPDATE {0} SET {1} = {1} WHERE false").format(name, where))
            may = "writes"
    except psycopg.errors.InsufficientPrivilege:
        pass
    except psycopg.OperationalError as error:
        if error.sqlstate != FENCED and "permission denied for database" not in str(error):
            raise
    return may


def test_each_role_may_in_each_phase_what_the_page_says_and_no_more(road: Road) -> None:
    seen: dict[tuple[str, str, str], str] = {}

    def look(phase: str) -> None:
        seen.update({(role, side, phase): rights(road, role, side) for role in ROLES for side in TABLES})

    look(Phase.MONOLITH_ONLY.value)
    for move, phase in zip(ROAD, list(Phase)[1:], strict=True):
        road.go(move)
        look(phase.value)
    road.go("strangle_rollback", "strangle_verify", "strangle_decommission --keep-copies")
    look(KEPT)
    print(*sorted(seen.items()), sep="\n")
    assert written() == {each: may for each, may in seen.items() if _own_side(*each[:2])}
    assert {may for (role, side, _), may in seen.items() if not _own_side(role, side)} == {"nothing"}


def _own_side(role: str, side: str) -> bool:
    return role == "strangler" or role.startswith(side)
