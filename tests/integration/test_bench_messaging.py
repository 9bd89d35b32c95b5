"""The messaging benchmark runs whole at a tiny size and writes every row of its table; no speed is asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.messaging.__main__ import PARTS, parser
from benchmarks.messaging.latency import percentile
from benchmarks.messaging.load import Work
from migration_tools.testing.brokers import EmbeddedRabbit
from tests.conftest import ROOT
from tests.integration.transport_rig import made

pytestmark = pytest.mark.thorough

GOALS = {
    "capture, single-row updates by 4 clients": (0.75, "higher"),
    "capture, single-row updates by 4 clients, durable": (0.75, "higher"),
    "capture, single-row updates by 4 clients, beside a bare trigger": (0.0, "higher"),
    "a bare trigger, single-row updates by 4 clients": (0.0, "higher"),
    "capture from the log, single-row updates by 4 clients": (0.75, "higher"),
    "capture, update of 10,000 rows": (2.0, "lower"),
    "relay reading": (0.50, "higher"),
    "relay numbering and reading": (0.50, "higher"),
    "outbox → applied, one row a transaction, feed": (0.75, "higher"),
    "outbox → applied, one row a transaction, RabbitMQ": (0.60, "higher"),
    "outbox → applied, 1,000 rows a transaction, feed": (0.75, "higher"),
    "outbox → applied, 1,000 rows a transaction, RabbitMQ": (0.60, "higher"),
    "commit → applied at 100 tx/s, feed, p50": (1.0, "lower"),
    "commit → applied at 100 tx/s, feed, p99": (1.0, "lower"),
    "commit → applied at 100 tx/s, RabbitMQ, p50": (1.0, "lower"),
    "commit → applied at 100 tx/s, RabbitMQ, p99": (1.0, "lower"),
    "events, to django-outbox-pattern": (5.0, "higher"),
    "events, to Debezium's published figure": (5.0, "higher"),
}
#: `answers` stands on the demonstration's stack and is tried where that runs: tests/services/test_up.py.
STREAMING = set(PARTS) - {"answers"}
#: The peer is installed on demand, which a machine without a package registry cannot.
MAY_BE_MISSING = {"events, to django-outbox-pattern"}


def test_every_row_is_there_with_its_goal_and_both_sides_have_every_write(tmp_path: Path) -> None:
    made(EmbeddedRabbit).destroy()
    output = tmp_path / "messaging.json"
    argv = [sys.executable, "-W", "ignore", "-m", "benchmarks.messaging", "--rows", "2000", "--rounds", "1"]
    argv += [word for part in STREAMING for word in ("--only", part)]
    small = ["--clients", "4", "--write-seconds", "1", "--rate", "100", "--seconds", "1", "--events", "50"]
    done = subprocess.run(
        [*argv, *small, "--output", str(output)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(output.read_text())
    found = {name: (each["goal"], each["better"]) for name, each in report["ratios"].items()}
    assert {**found, **{name: GOALS[name] for name in MAY_BE_MISSING}} == GOALS
    for name, each in report["ratios"].items():
        assert each["measured"] > 0, name
        assert each["ratio"] == pytest.approx(each["measured"] / each["limit"], rel=0.01), name
    assert {"processor", "python", "postgresql"} <= report["machine"].keys()
    assert set(report["samples"]) == STREAMING


def test_the_sizes_of_the_issue_are_the_defaults() -> None:
    options = parser().parse_args([])
    assert (options.rounds, options.clients, options.rate) == (3, 16, 500.0)
    assert str(options.output) == "var/bench/messaging.json"


def test_writers_write_each_row_once_and_a_percentile_is_a_value_that_was_seen() -> None:
    assert Work(clients=2, each=3, size=10).rows == 60
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
