"""A real command that gets SIGTERM in the middle of its work, at a named point, and is then let go on."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from migration_tools.errors import ExitCode
from tests.conftest import ROOT
from tests.races.scene import until

SECONDS = 60.0
#: manage.py under the given settings and some of this test's own.
MANAGE = """
import json, sys
from django.conf import settings
given = json.loads(sys.argv[1])
settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, **given.get("tools", {})}
settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, *given.get("apps", [])]
for alias, changes in given.get("databases", {}).items():
    settings.DATABASES[alias] = {**settings.DATABASES["default"], **changes}
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", *sys.argv[2:]])
"""


def manage(*words: str, **given: Any) -> list[str]:
    """The words of manage.py with settings of the test's own: `tools`, `apps`, `databases`."""
    return [sys.executable, "-c", MANAGE, json.dumps(given), *words]


def finished(argv: Sequence[str], env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run it to its end."""
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=SECONDS)


def told_to_stop(
    argv: Sequence[str], env: Mapping[str, str], point: str, place: Path
) -> "subprocess.CompletedProcess[str]":
    """Send SIGTERM when it is at the point, then let it go on."""
    gate = place / f"{point}.gate"
    child = subprocess.Popen(
        argv,
        cwd=ROOT,
        env={**env, "STRANGLE_POINTS": f"{point}=wait:{gate}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: gate.with_suffix(".reached").exists() or child.poll() is not None, f"it is at {point}", SECONDS)
        child.terminate()
        gate.touch()
        out, said = child.communicate(timeout=SECONDS)
    finally:
        child.kill()
        child.wait()
    return subprocess.CompletedProcess(list(argv), child.returncode, out, said)


def assert_stopped(done: "subprocess.CompletedProcess[str]", *says: str) -> None:
    """It ended as it is documented: code 6, a sentence, no traceback."""
    assert done.returncode == ExitCode.INTERRUPTED, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    for each in says:
        assert each in done.stderr
