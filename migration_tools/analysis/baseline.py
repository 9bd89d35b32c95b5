"""The baseline of the guard: couplings that there are already, which may become fewer and never more."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from migration_tools.analysis.context_file import path_in_project
from migration_tools.analysis.findings import Finding
from migration_tools.analysis.foreign_columns import ForeignColumn
from migration_tools.conf import settings
from migration_tools.errors import AnalysisError

VERSION = 1
GUARDED = ("SFA201", "SFA202", "SFA203")


@dataclass(frozen=True, order=True, kw_only=True)
class Coupling:
    """One JOIN, transaction or foreign write: which function does it to which tables. Lines may move."""

    rule: str
    function: str
    tables: tuple[str, ...]

    @classmethod
    def of(cls, finding: Finding) -> Self:
        """The coupling that a finding of the trace shows; a transaction's findings are one coupling."""
        return cls(rule=finding.rule, function=str(finding.detail["key"]), tables=tuple(sorted(finding.tables)))

    def __str__(self) -> str:
        return f"{self.rule} {self.function} ({', '.join(self.tables)})"


@dataclass(frozen=True)
class Baseline:
    """What is accepted. A transaction is accepted with fewer tables too: it is judged at each of its writes.

    `columns` are those that other contexts use: what breaks if one is removed.
    """

    couplings: frozenset[Coupling] = frozenset()
    columns: frozenset[ForeignColumn] = frozenset()

    def accepts(self, coupling: Coupling, functions: Iterable[str] = ()) -> bool:
        """Whether a coupling is in it. `functions` are those on the stack, for a transaction that is not over yet."""
        if coupling in self.couplings:
            return True
        if coupling.rule != "SFA202":
            return False
        on_stack = {coupling.function, *functions}
        return any(
            each.rule == coupling.rule and each.function in on_stack and set(coupling.tables) <= set(each.tables)
            for each in self.couplings
        )

    def to_json(self) -> dict[str, Any]:
        """Sorted, so that a change of the file shows what came and went."""
        return {
            "version": VERSION,
            "couplings": [
                {"rule": each.rule, "function": each.function, "tables": list(each.tables)}
                for each in sorted(self.couplings)
            ],
            "columns": [asdict(each) for each in sorted(self.columns)],
        }

    def save(self, path: Path) -> None:
        """Write the file."""
        path.write_text(json.dumps(self.to_json(), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file; without one nothing is accepted.

        Raises:
            AnalysisError: it is no baseline of this version.
        """
        try:
            document: Mapping[str, Any] = json.loads(path.read_text())
            if document["version"] != VERSION:
                raise ValueError(f"version {document['version']!r}")
            return cls(
                frozenset(
                    Coupling(rule=each["rule"], function=each["function"], tables=tuple(each["tables"]))
                    for each in document["couplings"]
                ),
                frozenset(ForeignColumn(**each) for each in document.get("columns", ())),
            )
        except FileNotFoundError:
            return cls()
        except (ValueError, KeyError, TypeError) as error:
            raise AnalysisError(
                f"the baseline {path.name!r} cannot be read ({error}); write it anew with strangle_guard baseline"
            ) from error


def path_of_baseline() -> Path:
    """Where the settings say that the baseline is."""
    return path_in_project(settings().GUARD_BASELINE)


def couplings_of(findings: Iterable[Finding]) -> dict[Coupling, Finding]:
    """The guarded couplings among findings, each with one that shows it."""
    return {Coupling.of(finding): finding for finding in findings if finding.rule in GUARDED}
