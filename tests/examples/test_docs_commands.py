"""Every command line that a page shows is run against a shop half-way: it ends with 0, or refuses as it is listed.

What changes something is rehearsed with its --dry-run, so all lines meet the same shop. What works on until told to
stop, and lines for another side's settings, are started as processes by test_docs_servers.
"""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, load_command_class

from migration_tools.eventstore import store
from tests.examples.refused import REFUSED
from tests.examples.test_docs import PAGES, parse, shell_lines
from tests.integration.test_phases import Road, road
from tests.unit.test_manners import CHANGES, LEAVES, NATURES, WORKS_ON, options

__all__ = ["road"]

#: As `pytest --strangle-trace var/traces` leaves it: a JOIN over three contexts, and a transaction over three.
TRACE = {
    "version": 1,
    "sent": [
        {
            "shape": "SELECT o.id, p.amount, u.email FROM payments_payment p JOIN orders_order o ON o.id = p.order_id "
            "JOIN accounts_user u ON u.id = o.user_id",
            "context": "orders",
            "function": "legacy_monolith.orders.pages.mine",
            "place": {"file": "legacy_monolith/orders/pages.py", "line": 12},
            "count": 7,
            "most": 1,
        }
    ],
    "written": [
        {
            "function": "legacy_monolith.orders.purchase.purchase",
            "context": "orders",
            "place": {"file": "legacy_monolith/orders/purchase.py", "line": 30},
            "tables": ["inventory_stock", "orders_order", "payments_payment"],
            "count": 2,
        }
    ],
}

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(300)]


def lines() -> list[tuple[str, ...]]:
    """What follows `manage.py`, once each."""
    found = {}
    for path in PAGES:
        for line in shell_lines(path.read_text()):
            words = parse(line)
            place = next((at for at, word in enumerate(words) if word.endswith("manage.py")), None)
            if place is not None and words[place + 1 : place + 2] and words[place + 1].startswith("strangle_"):
                found[tuple(words[place + 1 :])] = None
    return sorted(found)


def leaf(words: tuple[str, ...]) -> str:
    """The command, with its action where that has a parser of its own."""
    return " ".join(words[:2]) if " ".join(words[:2]) in LEAVES else words[0]


def run(words: tuple[str, ...]) -> tuple[int, str]:
    """Exit code, and what was said on both channels."""
    name, *arguments = words
    if NATURES[leaf(words)] == CHANGES and {"--dry-run"} & options(LEAVES[leaf(words)]) - set(arguments):
        arguments.append("--dry-run")
    out, command = StringIO(), load_command_class("migration_tools", name)
    given = vars(command.create_parser("manage.py", name).parse_args(arguments))
    try:
        command.execute(*given.pop("args", ()), **given | {"stdout": out, "stderr": out, "no_color": True})
    except CommandError as error:
        return error.returncode, f"{out.getvalue()}{error}"
    except SystemExit as error:
        return int(error.code or 0), out.getvalue()
    return 0, out.getvalue()


def works_on(words: tuple[str, ...]) -> bool:
    """Whether it is test_docs_servers that starts the line."""
    watches = NATURES[leaf(words)] == WORKS_ON or "--watch" in words or words[:2] == ("strangle_sagas", "run")
    return watches or "--settings" in words


def fault(line: str, code: int, said: str) -> str | None:
    """What is wrong with how a line ended, if anything: it ends with 0, or as REFUSED says."""
    expected, sentence = REFUSED.get(line, (0, ""))
    if code == expected and sentence in said and "Traceback" not in said:
        return None
    return f"{line}: exit code {code}, {said[-300:]!r}"


def test_every_line_of_the_pages_does_what_it_says_or_refuses_as_it_is_listed(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    road.stage.shop.execute("ANALYZE orders_order")  # or autovacuum does, some time or never
    road.go("strangle_dual_write", "strangle_backfill", "strangle_verify", "strangle_switch_reads --percent 25")
    monkeypatch.chdir(tmp_path)
    # What other tests of the run declare when they are imported.
    monkeypatch.setattr(store, "_registry", {})
    (tmp_path / "var" / "traces").mkdir(parents=True)
    (tmp_path / "var" / "traces" / "trace-main.json").write_text(json.dumps(TRACE))
    faults, ran = [], set()
    for words in lines():
        line = " ".join(words)
        if works_on(words):
            continue
        try:
            code, said = run(words)
        except Exception as error:  # whatever is not an answer is a fault
            faults.append(f"{line}: {type(error).__name__}: {error}")
            continue
        ran.add(line)
        faults += filter(None, [fault(line, code, said)])
    assert faults == []
    assert len(ran) > 150
    assert set(REFUSED) - ran == set(), "no page shows them any more"
    # In the phase, a share is changed without a move; that --dry-run said it could not be done was a fault.
    assert {"strangle_switch_reads orders --percent 100", "strangle_switch_reads orders --steps 1,5,25,50,100"} <= (
        ran - set(REFUSED)
    )


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("strangle_status orders", 1, "a new refusal of more than twenty letters"),
        ("strangle_archive orders", 3, "the connection was lost, for another reason than before"),
        ("strangle_status orders", 0, "Traceback (most recent call last)"),
    ],
)
def test_another_refusal_than_the_listed_one_is_a_fault(line: str, code: int, said: str) -> None:
    assert fault(line, code, said) is not None
