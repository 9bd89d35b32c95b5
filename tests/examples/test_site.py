"""The documentation becomes a site without a warning, and its generated page names what the code has."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from migration_tools.conf import Settings
from migration_tools.observability.figures import FAMILIES
from tests.architecture.tree import ROOT, project_files
from tests.examples.test_docs import COMMANDS

pytestmark = pytest.mark.thorough


def test_the_site_is_built_without_a_warning_and_holds_every_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", str(tmp_path / "doctrees"), ".", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    for path in project_files(".md", below=ROOT / "docs"):
        assert (tmp_path / "site" / path.relative_to(ROOT).with_suffix(".html")).exists(), path
    page = (tmp_path / "site" / "docs" / "reference" / "generated.html").read_text()
    names = {*COMMANDS, *FAMILIES, *(field.name for field in dataclasses.fields(Settings))}
    assert {name for name in names if name not in page} == set()
