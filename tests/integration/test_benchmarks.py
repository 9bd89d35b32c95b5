"""The transfer benchmark runs whole at a tiny size and writes every row of the speed table; no speed is asserted."""

import json
import subprocess
import sys
from typing import Any

import pytest

from benchmarks.__main__ import parser
from benchmarks.measures.peer_copy import seconds_of
from benchmarks.ratios import Ratio, Samples
from tests.conftest import ROOT

pytestmark = pytest.mark.thorough

#: The rows of the speed table, with their goals.
GOALS = {
    "copy into a fresh target": (1.0, "higher"),
    "copy, beside pgcopydb": (1.3, "higher"),
    "copy with live events": (0.60, "higher"),
    "two workers, to one pipe": (1.5, "higher"),
    "two workers, to two pipes": (0.90, "higher"),
    "copy, beside an ORM loop": (20.0, "higher"),
    "verification of equal data": (2.5, "higher"),
    "verification, 100 rows differ": (8.0, "higher"),
    "differing rows found": (1.0, "higher"),
    "verification, to the pipe": (0.40, "lower"),
    "sync apply": (0.50, "higher"),
    **{f"memory of {job}": (1.0, "lower") for job in ("copy", "verification", "sync")},
    **{f"memory of {job}, 10 times the rows": (1.15, "lower") for job in ("copy", "verification", "sync")},
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run over 600 orders writes; what it prints is under 'printed'."""
    output = tmp_path_factory.mktemp("bench") / "transfer.json"
    argv = [sys.executable, "-W", "ignore", "-m", "benchmarks", "--rows", "600", "--rounds", "1"]
    done = subprocess.run(
        [*argv, "--memory-rows", "200", "--output", str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {**json.loads(output.read_text()), "printed": done.stdout}


def test_every_row_of_the_speed_table_is_there_with_its_goal(report: dict[str, Any]) -> None:
    assert {name: (each["goal"], each["better"]) for name, each in report["ratios"].items()} == GOALS
    for name, each in report["ratios"].items():
        assert each["measured"] > 0, name
        if name != "copy, beside pgcopydb":  # that peer need not be installed
            assert each["ratio"] == pytest.approx(each["measured"] / each["limit"], rel=0.01), name
    assert {"processor", "python", "postgresql"} <= report["machine"].keys()


def test_all_planted_rows_are_found_and_equal_data_is_equal(report: dict[str, Any]) -> None:
    """Equal data that seems to differ ends the run with an error, so its end says the second half."""
    found = report["ratios"]["differing rows found"]
    assert (found["measured"], found["limit"]) == (100, 100)


def test_the_table_says_which_goals_are_met(report: dict[str, Any]) -> None:
    met = sum(each["met"] for each in report["ratios"].values())
    assert f"{met} of {len(GOALS)} goals are met" in report["printed"]
    assert "copy into a fresh target" in report["printed"]


def test_a_ratio_is_of_medians_and_knows_which_way_is_better() -> None:
    samples = Samples()
    for value in (9.0, 1.0, 2.0):
        samples.add("x", value)
    assert samples["x"] == 2.0
    slow = Ratio(measured=2.0, limit=4.0, goal=0.6, better="higher", unit="rows/s")
    assert (slow.ratio, slow.met) == (0.5, False)
    assert Ratio(measured=2.0, limit=4.0, goal=0.6, better="lower", unit="seconds").met


def test_rows_and_rounds_are_a_million_and_three_unless_told() -> None:
    options = parser().parse_args([])
    assert (options.rows, options.rounds, str(options.output)) == (1_000_000, 3, "var/bench/transfer.json")


@pytest.mark.parametrize(("text", "seconds"), [("340ms", 0.34), ("3s669", 3.669), ("2m14s", 134.0), ("0ms", 0.0)])
def test_the_peers_way_to_write_a_time_is_understood(text: str, seconds: float) -> None:
    assert seconds_of(text) == pytest.approx(seconds)
