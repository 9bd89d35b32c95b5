"""What a row is: one rule with code that breaks it and code that does not."""

import re
from dataclasses import dataclass

MARK = re.compile(r"SFA\d{3}")

Found = tuple[str, int, str]
"""File, line, rule."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One rule: what breaks it, and what is next to that and breaks another or none."""

    rule: str
    file: str
    planted: str
    neighbour: str


def marks(file: str, text: str, above: int = 0) -> set[Found]:
    """What the comments of a text say that has to be found, the text standing below so many lines."""
    return {
        (file, above + number, rule)
        for number, line in enumerate(text.splitlines(), 1)
        for rule in MARK.findall(line.partition("  # ")[2])
    }
