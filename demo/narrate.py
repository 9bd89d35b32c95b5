"""The narrator: tells a run in a few lines a phase, in colour on a terminal and plainly elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text


class Narrator:
    """Prints with the seconds since the start of the run."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def chapter(self, title: str) -> None:
        """Begin a phase."""
        self._line(Text.assemble("\n", (f"{self.seconds:6.1f} s  ", "dim"), (title, "bold cyan")))

    def say(self, text: str) -> None:
        self._line(Text.assemble((f"{self.seconds:6.1f} s  ", "dim"), "  ", text))

    def good(self, text: str) -> None:
        self._line(Text.assemble((f"{self.seconds:6.1f} s  ", "dim"), ("✓ ", "bold green"), text))

    def bad(self, text: str) -> None:
        self._line(Text.assemble((f"{self.seconds:6.1f} s  ", "dim"), ("✗ ", "bold red"), (text, "red")))

    def summary(self, title: str, rows: Iterable[tuple[str, str]]) -> None:
        """Print a closing table of facts."""
        if not self._console.is_terminal:
            self._line(Text(f"\n{title}"))
            for name, value in rows:
                self._line(Text(f"  {name:<34} {value}"))
            return
        table = Table(title=title, show_header=False, title_justify="left", min_width=60)
        for name, value in rows:
            table.add_row(name, value)
        self._console.print(table)

    def _line(self, text: Text) -> None:
        self._console.print(text)
