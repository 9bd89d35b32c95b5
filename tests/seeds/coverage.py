"""The rows of the seed documents, each with the tests or commands that show it; what is wrong with them is named."""

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.architecture.tree import ROOT

ROWS = Path(__file__).with_name("rows.toml")
COMMANDS = ROOT / "migration_tools" / "management" / "commands"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One system: where the seeds describe it, what would prove it, what shows it here or why nothing does."""

    number: int
    section: str
    seeds: str
    asks: str
    proof: str
    shown_by: tuple[str, ...]
    missing: str


def read(text: str) -> list[Row]:
    """Read the rows of a TOML text, in its order."""
    return [
        Row(
            number=row["number"],
            section=section["title"],
            seeds=row["seeds"],
            asks=row["asks"],
            proof=row["proof"],
            shown_by=tuple(row.get("shown_by", ())),
            missing=row.get("missing", ""),
        )
        for section in tomllib.loads(text)["section"]
        for row in section["row"]
    ]


def mistakes(rows: Iterable[Row]) -> Iterator[str]:
    """Name every row that nothing shows and that does not say why, and every proof that is not there."""
    for row in rows:
        if not row.shown_by and not row.missing:
            yield f"row {row.number} has neither a test nor a command, and does not say what is missing"
        for proof in row.shown_by:
            if (wrong := wrong_proof(proof)) is not None:
                yield f"row {row.number}: {proof!r}: {wrong}"


def wrong_proof(proof: str) -> str | None:
    """Tell why a proof cannot be run; None when it is a make target, a command of ours, a file or a test in one."""
    words = proof.split()
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return None if words[1] in targets else "there is no such target"
    if words[0].startswith("strangle_"):
        return None if (COMMANDS / f"{words[0]}.py").exists() else "there is no such command"
    path, _, name = proof.partition("::")
    if not (ROOT / path).is_file():
        return "there is no such file"
    return None if not name or name in functions(ROOT / path) else "there is no such test in the file"


@cache
def functions(path: Path) -> frozenset[str]:
    """Give the names of all functions and classes in a Python file."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return frozenset(node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds))
