"""What had to be written for django-oscar is what the documentation says."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from demo.oscar.forms import filled_in
from demo.oscar.written import CUT, by_hand
from tests.architecture.tree import ROOT


def test_what_had_to_be_written_is_as_little_as_the_documentation_says() -> None:
    """A playbook for each context, settings and addresses; what else is there makes the shop that is carried out."""
    written = by_hand(("order", "catalogue"))
    assert sorted(written) == ["catalogue.py", "order.py", "settings.py", "urls.py"]
    assert {path.name for path in CUT.glob("*.py")} - set(written) == {"__init__.py", "seed.py"}
    page = (ROOT / "docs" / "how-to" / "cut-a-foreign-monolith.md").read_text()
    for name, count in written.items():
        assert f"| `{name}` | {count} |" in page, (name, count)


def carried_out(output: Path, *options: str) -> dict[str, Any]:
    """`make demo-oscar`, small, on tables made from the models: it ends with 0 only if nothing is lost or differs."""
    small = ("--orders", "1", "--reads", "4", "--seconds", "0.5", "--writes", "2", "--output", str(output))
    done = subprocess.run(
        [sys.executable, "-m", "demo.oscar", *small, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
        env={**os.environ, "OSCAR_WITHOUT_MIGRATIONS": "1"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    told: dict[str, Any] = json.loads((output / "report.json").read_text())
    assert told["result"] == "ok"
    assert told["differences"] == 0
    assert told["traffic"]["failed"] == 0
    assert told["acknowledged"] > 5
    assert len(told["pause_ms"]) == 3 * len(told["contexts"]), "out, back, and out again"
    assert told["written"]["by_hand"] == by_hand(told["contexts"])
    assert told["written"]["generated"] > 100 * len(told["contexts"])
    return told


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_orders_leave_oscar_under_its_own_customers_come_back_and_leave_for_good(tmp_path: Path) -> None:
    told = carried_out(tmp_path)
    assert [each["command"] for each in told["moves"]][-2:] == ["strangle_decommission"] * 2


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_the_catalogue_leaves_oscar_and_its_old_tables_stay_as_copies_that_oscar_s_other_pages_join(
    tmp_path: Path,
) -> None:
    told = carried_out(tmp_path, "--context", "catalogue")
    last = [each["command"] for each in told["moves"]][-3:]
    assert last == ["strangle_decommission", "strangle_rollback", "strangle_decommission"]
    checked = told["audit"]["checked"]
    assert checked["categories"] > 2
    assert checked["attributes"] > 1
    assert checked["orders"] > 2, "customers buy all the time, and their baskets join products in the monolith"


def test_a_form_is_sent_back_as_it_is_shown() -> None:
    page = """<form><input name="q" value="search"></form><form method="post">
      <input type="hidden" name="token" value="a&amp;b"><input name="pages" value="7"><input name="off" disabled>
      <input type="checkbox" name="wanted" checked><input type="checkbox" name="unwanted">
      <input type="radio" name="kind" value="1"><input type="radio" name="kind" value="2" checked>
      <input type="submit" name="go"><input type="file" name="picture">
      <select name="one"><option value="">-</option><option value="x" selected>X</option></select>
      <select name="many" multiple><option value="1" selected>1</option><option value="2" selected>2</option></select>
      <select name="none" multiple><option value="1">1</option></select>
      <textarea name="text">\n two &lt;lines&gt;\n</textarea></form>"""
    assert filled_in(page, "pages") == {
        "token": ["a&b"], "pages": ["7"], "wanted": ["on"], "kind": ["2"], "one": ["x"], "many": ["1", "2"],
        "text": [" two <lines>\n"],
    }  # fmt: skip
    assert filled_in(page, "elsewhere") == {}
