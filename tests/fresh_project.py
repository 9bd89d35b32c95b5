"""A project that has nothing yet but how it is linted, typed and tested: what generators write is held to that."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.architecture.tree import ROOT

#: Ruff's own, the narrowest that most have: what is written follows the project that it is written into.
WIDTH = 88
#: With the toolkit's plugin, which an installation has of itself.
PYTEST = ("pytest", "-q", "-p", "migration_tools.testing.plugin", "-p", "no:cacheprovider")


def begin(root: Path, *, settings: str = "legacy_monolith.settings") -> Path:
    """Write pyproject.toml with our choice of rules and none of our exemptions."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]["select"]
    (root / "pyproject.toml").write_text(
        f'[tool.ruff]\nline-length = {WIDTH}\ntarget-version = "py311"\n'
        f'[tool.ruff.lint]\nselect = {rules}\nignore = ["RUF012"]\n'
        '[tool.mypy]\nstrict = true\nplugins = ["mypy_django_plugin.main"]\nfollow_imports = "silent"\n'
        f'[tool.django-stubs]\ndjango_settings_module = "{settings}"\n'
        '[tool.pytest.ini_options]\nfilterwarnings = ["error"]\n'
    )
    return root


def run(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A program of the virtual environment, with what was generated and the toolkit importable."""
    found = os.pathsep.join([str(cwd), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": found, **env},
        timeout=240,
    )


def lint(root: Path) -> None:
    """Ruff's linter and formatter, by the project's own configuration."""
    for action in (["check"], ["format", "--check", "--diff"]):
        done = run("ruff", *action, "--no-cache", ".", cwd=root)
        assert done.returncode == 0, done.stdout + done.stderr


def pytest_in(root: Path, *args: str, settings: str, **env: str) -> str:
    """Run tests, which must pass; gives the last line."""
    done = run(*PYTEST, "--ds", settings, *args, cwd=root, **env)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout.strip().splitlines()[-1]
