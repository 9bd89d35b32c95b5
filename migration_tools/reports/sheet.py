"""A sheet: what a report says, before anything is drawn; text, Markdown, HTML and JUnit are made from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing that was examined; `wrong` says why it does not hold, `skipped` why it was not examined.

    `more` is how many lines there would be beyond those given.
    """

    name: str
    group: str = ""
    wrong: str = ""
    skipped: str = ""
    lines: Sequence[str] = ()
    more: int = 0


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a heading; `numbers` are the columns that hold figures."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    empty: str = "none"


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A whole report: the verdict first, then what was examined, then the tables."""

    title: str
    verdict: str
    good: bool
    circumstances: str
    cases: Sequence[Case] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    seconds: float = 0.0
    properties: dict[str, str] = field(default_factory=dict)
