"""Write docs/reference/seed-coverage.md from rows.toml: `python -m tests.seeds`."""

import sys
from itertools import groupby

from tests.architecture.tree import ROOT
from tests.seeds.coverage import ROWS, Row, mistakes, read

PAGE = ROOT / "docs" / "reference" / "seed-coverage.md"

HEAD = """\
# What the seed documents ask for, and what shows it

Five documents about data in microservices describe the systems that this project is made of. Each row is one of them:
where it stands (document and lines), what it is, what would prove it, and the test or command that does. A row that
nothing shows whole says what is missing. Written by `python -m tests.seeds` from `tests/seeds/rows.toml`; a test holds
both together and fails for a row that has nothing.
"""


def page(rows: list[Row]) -> str:
    """Render the rows, a table a section."""
    shown = sum(bool(row.shown_by and not row.missing) for row in rows)
    parts = [HEAD, f"\nShown whole: {shown} of {len(rows)} rows.\n"]
    for title, section in groupby(rows, key=lambda row: row.section):
        parts.append(f"\n## {title}\n\n| # | seeds | system | proof | shown by |\n|---|---|---|---|---|\n")
        parts.extend(line(row) for row in section)
    return "".join(parts)


def line(row: Row) -> str:
    """Render a row; what is missing stands last, in italics."""
    shown = [link(proof) for proof in row.shown_by]
    if row.missing:
        shown.append(f"*missing: {row.missing}*")
    cells = (str(row.number), row.seeds, row.asks, row.proof, " · ".join(shown))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def link(proof: str) -> str:
    """Link a test's file under the test's name; a command stands as it is typed."""
    path, _, name = proof.partition("::")
    if "/" not in path.split()[0]:
        return f"`{proof}`"
    return f"[{name.removeprefix('test_').replace('_', ' ') or path}](../../{path})"


def main() -> int:
    """Write the page; refuse rows with mistakes."""
    rows = read(ROWS.read_text())
    if wrong := list(mistakes(rows)):
        print("\n".join(wrong), file=sys.stderr)
        return 1
    PAGE.write_text(page(rows))
    print(f"{len(rows)} rows, {sum(not row.missing for row in rows)} shown whole: {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
