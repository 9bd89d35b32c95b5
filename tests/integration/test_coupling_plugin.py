"""The plugin as its user meets it: a test that couples contexts anew fails, even where its code swallows that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from migration_tools.analysis.context_file import load_contexts
from migration_tools.analysis.trace import Trace
from tests.architecture.tree import ROOT

pytestmark = pytest.mark.thorough

TESTS = """
import contextlib
import pytest
from legacy_monolith.catalog.models import Product
from legacy_monolith.reporting.sales import top_customers

@pytest.mark.django_db
def test_that_joins():
    top_customers(3)

@pytest.mark.django_db
def test_that_swallows():
    with contextlib.suppress(Exception):
        top_customers(3)

@pytest.mark.django_db
def test_that_keeps_apart():
    assert list(Product.objects.all()) == []
"""


def run(tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A run of its own, on a server of its own."""
    file = tmp_path / "test_planted.py"
    file.write_text(TESTS)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("STRANGLE_TEST_PG", "PYTEST_"))}
    arguments = ["-n", "0", "-p", "migration_tools.testing.plugin", "-c", "pyproject.toml", "--rootdir", str(ROOT)]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, *options, str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=env,
        timeout=240,
    )


def test_a_new_coupling_fails_the_test_that_runs_it_and_is_told_with_its_remedy(tmp_path: Path) -> None:
    guarded = run(tmp_path, "--strangle-guard", "raise", "--strangle-trace", str(tmp_path / "traces"))
    assert "2 failed, 1 passed" in guarded.stdout, guarded.stdout + guarded.stderr
    assert "FAILED" in guarded.stdout
    assert "keep a read model filled by events" in guarded.stdout
    trace = Trace.read([tmp_path / "traces"], load_contexts())
    assert {each.function for each in trace.sent.values()} >= {"legacy_monolith.reporting.sales.top_customers"}
    logged = run(tmp_path, "--strangle-guard", "log")
    assert "3 passed" in logged.stdout
    assert "couplings of contexts that the baseline does not have" in logged.stdout
    off = run(tmp_path)
    assert "3 passed" in off.stdout
    assert "couplings of contexts" not in off.stdout
