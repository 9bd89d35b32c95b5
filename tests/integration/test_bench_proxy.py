"""The proxy benchmark runs whole at a tiny size and writes every row of its table; no speed is asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.proxy.__main__ import parser
from benchmarks.proxy.contestants import ASGI, HAPROXY, NGINX
from tests.conftest import ROOT

pytestmark = pytest.mark.thorough

GOALS = {
    "requests per CPU-second, to bare Envoy": (0.95, "higher"),
    "latency added to one reader": (1.25, "lower"),
    "flip to last stale request, p99": (1.0, "lower"),
    "stale requests after the confirmation": (0.0, "lower"),
    "failed writes in 2 cutovers": (0.0, "lower"),
    "lost writes in 2 cutovers": (0.0, "lower"),
    "duplicated writes in 2 cutovers": (0.0, "lower"),
    "extra latency of a held write, p99": (1.0, "lower"),
}
#: Rows of servers that need not be installed.
MAY_BE_MISSING = {f"requests per CPU-second, to {name}" for name in (ASGI, HAPROXY, NGINX)}


def test_every_row_is_there_and_no_write_is_lost(tmp_path: Path) -> None:
    output = tmp_path / "proxy.json"
    argv = [sys.executable, "-W", "ignore", "-m", "benchmarks.proxy", "--seconds", "0.2", "--rounds", "1"]
    done = subprocess.run(
        [*argv, "--flips", "2", "--cutovers", "2", "--output", str(output)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(output.read_text())
    found = {name: (each["goal"], each["better"]) for name, each in report["ratios"].items()}
    assert {name: goal for name, goal in found.items() if name not in MAY_BE_MISSING} == GOALS
    assert {"processor", "python"} <= report["machine"].keys()
    assert set(report["samples"]) == {"throughput", "flip", "hold"}
    for name in ("failed", "lost", "duplicated"):
        assert report["ratios"][f"{name} writes in 2 cutovers"]["measured"] == 0, done.stderr


def test_the_sizes_of_the_issue_are_the_defaults() -> None:
    options = parser().parse_args([])
    assert (options.rounds, options.cutovers, str(options.output)) == (3, 40, "var/bench/proxy.json")
