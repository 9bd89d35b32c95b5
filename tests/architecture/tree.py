"""The project's own files, as the architecture tests read them."""

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("migration_tools", "legacy_monolith", "extracted_services", "proxy", "playbooks", "demo", "benchmarks")

#: Directories that a checkout does not hold: made by running, building or checking the project.
MADE = {
    ".git", ".venv", ".hypothesis", ".import_linter_cache", ".mypy_cache", ".pytest_cache", ".ruff_cache",
    "__pycache__", "build", "dist", "var",
}  # fmt: skip


def project_files(suffix: str = "", *, below: Path = ROOT) -> Iterator[Path]:
    """Yield the project's files; the tree is walked, since a fresh machine need not have git."""
    for path in sorted(below.iterdir()):
        if path.name in MADE or path.name.endswith(".egg-info"):
            continue
        if path.is_dir():
            yield from project_files(suffix, below=path)
        elif path.name.endswith(suffix):
            yield path


def relative(path: Path) -> str:
    """Name a file as a reader would."""
    return path.relative_to(ROOT).as_posix()
