"""The scaling benchmark runs whole at a tiny size and writes every row of its table; no speed is asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.scaling.__main__ import parser
from benchmarks.scaling.layout import POOL
from migration_tools.testing.brokers import EmbeddedRabbit
from migration_tools.testing.poolers import EmbeddedPgBouncer
from tests.conftest import ROOT
from tests.integration.transport_rig import made

GOALS = {
    "events, two relays and two consumers": (0.85, "higher"),
    "CPU an event, two relays and two consumers": (1.15, "lower"),
    "events, two streams": (1.0, "higher"),
    "CPU an event, two streams": (1.15, "lower"),
    "backfill, 1 Celery worker": (1.0, "higher"),
    "CPU a row, 1 Celery worker": (1.15, "lower"),
    "backfill, 2 Celery workers": (1.0, "higher"),
    "CPU a row, 2 Celery workers": (1.15, "lower"),
    "requests, two Envoys": (1.0, "higher"),
    "CPU a request, two Envoys": (1.15, "lower"),
    "captured writes of 8 clients, through PgBouncer": (0.85, "higher"),
    "sessions of 8 clients, through PgBouncer": (0.25, "lower"),
}


@pytest.mark.thorough
def test_every_row_is_there_with_its_goal_and_nothing_was_done_by_somebody_else(tmp_path: Path) -> None:
    """That all events were handled, and rows copied by the workers that were given them, the benchmark itself sees."""
    made(EmbeddedRabbit).destroy()
    made(lambda: EmbeddedPgBouncer(1, {})).destroy()
    output = tmp_path / "scaling.json"
    argv = [sys.executable, "-W", "ignore", "-m", "benchmarks.scaling", "--rows", "20000", "--events", "200"]
    done = subprocess.run(
        [*argv, "--rounds", "1", "--seconds", "0.3", "--clients", "8", "--output", str(output)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(output.read_text())
    assert {name: (each["goal"], each["better"]) for name, each in report["ratios"].items()} == GOALS
    assert {"processor", "python", "cores"} <= report["machine"].keys()
    assert set(report["samples"]) == {"streams", "backfill", "proxies", "pooler"}
    # Web processes' writes share the pool, however many they are.
    assert report["samples"]["pooler"]["through PgBouncer, sessions"] == [POOL]
    for layout in ("one stream", "one stream, two of each", "two streams"):
        (each,) = report["samples"]["streams"][f"{layout}, µs of the consumer an event"]
        assert each > 0, layout


def test_a_run_takes_about_a_minute_a_part_by_default() -> None:
    options = parser().parse_args([])
    assert (options.events, options.rows, options.rounds) == (12_000, 200_000, 3)
    assert str(options.output) == "var/bench/scaling.json"
