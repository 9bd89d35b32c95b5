"""Written text as the project's own formatter has it: by ruff, where there is one, and its nearest configuration."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

# Generators write lines of 120 as ruff and black would; what is left to do is the project's own width and imports.


def tidy(paths: Iterable[Path]) -> bool:
    """Sort imports and format files or folders in place; False where ruff is not installed and nothing was done.

    A formatter that fails has changed nothing that matters: the text is valid as it was written.
    """
    ruff, where = _ruff(), [str(path) for path in paths]
    if ruff is None or not where:
        return False
    for action in (["check", "--fix-only", "--select", "I"], ["format"]):
        subprocess.run([*ruff, *action, "--quiet", "--no-cache", *where], capture_output=True, check=False)
    return True


def tidied(text: str, name: str) -> str:
    """The same for text that is printed; `name` is the file it would be in, below the current folder."""
    ruff = _ruff()
    if ruff is None:
        return text
    for action in (["check", "--fix-only", "--select", "I"], ["format"]):
        done = subprocess.run(
            [*ruff, *action, "--quiet", "--no-cache", "--stdin-filename", name, "-"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            text = done.stdout
    return text


def _ruff() -> list[str] | None:
    if importlib.util.find_spec("ruff") is not None:
        return [sys.executable, "-m", "ruff"]
    found = shutil.which("ruff")
    return [found] if found else None
