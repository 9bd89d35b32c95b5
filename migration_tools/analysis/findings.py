"""What the analysis finds: one coupling of two contexts, with the rule it breaks and the place in the source."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from migration_tools.analysis.rules import RULES, Rule


@dataclass(frozen=True, kw_only=True)
class Place:
    """A line of the source: `file` relative to the project, or to where packages are installed."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.file else "(no source)"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`source` depends on `target`. `weight` is how often it occurs, `detail` what only this rule tells."""

    rule: str
    source: str
    target: str
    message: str
    place: Place = field(default_factory=Place)
    tables: tuple[str, ...] = ()
    weight: int = 1
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def of(self) -> Rule:
        """The rule it breaks."""
        return RULES[self.rule]

    @property
    def key(self) -> str:
        """What stays the same when lines move: for baselines."""
        return "|".join(
            [self.rule, self.source, self.target, self.place.file, *self.tables, self.detail.get("key", "")]
        )

    def to_json(self) -> dict[str, Any]:
        """As the report holds it, with name and remedy."""
        return {**asdict(self), "tables": list(self.tables), "name": self.of.name, "remedy": self.of.remedy}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """Read it back."""
        return cls(
            rule=given["rule"],
            source=given["source"],
            target=given["target"],
            message=given["message"],
            place=Place(**given["place"]),
            tables=tuple(given["tables"]),
            weight=given["weight"],
            detail=given["detail"],
        )
