"""The board in a terminal: every context's phase, gates, lag, copy and rollback, redrawn until Ctrl-C."""

import json
import sys
import threading
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandParser

from migration_tools.management.examples import Examples
from migration_tools.management.progress import duration
from migration_tools.management.signals import heed_signals
from migration_tools.overview.observing import observe
from migration_tools.playbook.registry import get, load

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

MARKS = {"behind": "[green]✓[/]", "here": "[bold blue]●[/]", "next": "[green]○[/]", "later": "[dim]·[/]"}
BARS = " ▁▂▃▄▅▆▇█"
HISTORY = 40


class Command(Examples):
    """Reads only; looks at both sides itself, so it needs no strangle_operate."""

    help = "Show every context live: phases, gates, lag, copy, reads, rollback. On a terminal it redraws itself."
    examples = ("", "orders --every 1", "--once --format json")
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("contexts", nargs="*", help="default: every context that a playbook declares")
        parser.add_argument("--every", type=float, default=2.0, help="seconds between two looks (default 2)")
        parser.add_argument("--once", action="store_true", help="look once and end; so it is where no terminal is")
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        playbooks = [get(name) for name in options["contexts"]] or list(load().values())
        with heed_signals(stop):
            if options["format"] == "json":
                self.stdout.write(json.dumps([observe(each) for each in playbooks], default=str))
            elif options["once"] or not sys.stdout.isatty():
                self._print([observe(each) for each in playbooks])
            else:
                self._live(playbooks, stop, options["every"])

    def _print(self, seen: list[dict[str, Any]]) -> None:
        from rich.console import Console

        Console(file=self.stdout, width=None if sys.stdout.isatty() else 120).print(draw(seen, {}))  # type: ignore[arg-type]

    def _live(self, playbooks: list[Any], stop: threading.Event, every: float) -> None:
        from rich.live import Live

        history: dict[str, list[float]] = {}
        with Live(screen=True, auto_refresh=False) as live:
            while not stop.is_set():
                seen = [observe(each) for each in playbooks]
                remember(seen, history)
                live.update(draw(seen, history), refresh=True)
                stop.wait(every)


def remember(seen: list[dict[str, Any]], history: dict[str, list[float]]) -> None:
    """Add the lag of each consumer to its history."""
    for each in seen:
        for name, lag in each["status"]["lag"].items():
            values = history.setdefault(f"{each['context']}:{name}", [])
            values.append(float(lag["seconds"]))
            del values[:-HISTORY]


def draw(seen: list[dict[str, Any]], history: dict[str, list[float]]) -> "Group":
    """The board, under it each context's figures and what blocks it."""
    from rich.console import Group
    from rich.table import Table

    table = Table(box=None, pad_edge=False, expand=False, header_style="dim")
    for title in ("context", "1 2 3 4 5 6 7", "phase", "writes", "reads", "lag", "copied", "gates", "back"):
        table.add_column(title, no_wrap=title != "back")
    for each in seen:
        table.add_row(*row(each, history))
    return Group(table, "", *(figures(each, history) for each in seen), "", *blocks(seen))


def row(seen: dict[str, Any], history: dict[str, list[float]]) -> list[str]:
    """One context's cells."""
    status, copied, back = seen["status"], seen["copied"], seen["way_back"]
    marks = " ".join("[red]○[/]" if station["blocked"] else MARKS[station["standing"]] for station in seen["road"])
    shut = sum(1 for gate in seen["gates"] if gate["missing"])
    lag = max((each["seconds"] for each in status["lag"].values()), default=None)
    curves = [values for name, values in history.items() if name.startswith(f"{seen['context']}:")]
    curve = spark([max(values) for values in zip(*curves, strict=False)]) if curves else ""
    share = "–" if not copied or not copied["begun"] else f"{copied['percent']:g} %"  # noqa: RUF001
    if copied and copied["eta_seconds"] is not None and copied["begun"]:
        share += f", {duration(copied['eta_seconds'])} left"
    return [
        f"[bold]{seen['context']}[/]",
        marks,
        str(status["phase"])
        + (" (copies kept)" if status["kept_copies"] else "")
        + (" [yellow](moving)[/]" if status["move"] else ""),
        {"source": "monolith", "target": "service"}.get(status["owner"] or "source", "?"),
        f"{status['route']['reads_percent']:g} %" if status["route"] else "–",  # noqa: RUF001
        ("–" if lag is None else f"{lag:.1f} s") + (f" {curve}" if curve else ""),  # noqa: RUF001
        share,
        f"[red]{shut} of {len(seen['gates'])} shut[/]" if shut else "[green]open[/]" if seen["gates"] else "–",  # noqa: RUF001
        back["say"] if back else "–",  # noqa: RUF001
    ]


def figures(seen: dict[str, Any], history: dict[str, list[float]]) -> str:
    """One context's consumers, answers, shadow reads, refused writes, parked events and users of the old tables."""
    from rich.markup import escape

    status, told = seen["status"], []
    for name, lag in status["lag"].items():
        curve = spark(history.get(f"{seen['context']}:{name}", []))
        told.append(f"lag of {name} {lag['seconds']:.1f} s{f' {curve}' if curve else ''}")
    for side, counts in sorted(seen["traffic"].items()):
        name = {"old": "monolith", "new": "service"}.get(side, side)
        told.append(f"{name} answered {counts['requests']:,} reads, {counts['errors']:,} with errors")
    if seen["shadow"]["compared"]:
        told.append(f"{seen['shadow']['compared']:,} shadowed, {seen['shadow']['different']:,} differed")
    told.append(f"{sum(seen['fenced'].values()):,} writes refused")
    parked = sum(side.get("dead_letters", 0) for side in status["sides"].values())
    if parked:
        told.append(f"[red]{parked:,} parked[/]")
    strangers = {f"{each['role']} ({each['application'] or 'no name'})" for each in seen["users"] if not each["ours"]}
    if strangers:
        told.append(f"old tables used by {escape(', '.join(sorted(strangers)))}")
    return f"[bold]{seen['context']}[/] " + "[dim] · [/]".join(told)


def blocks(seen: list[dict[str, Any]]) -> "list[Table | str]":
    """What is in the way of each context, in sentences."""
    lines: list[Any] = []
    for each in seen:
        if each["problem"]:
            lines.append(f"[red]{each['context']}[/]: {each['problem']}")
        for gate in each["gates"]:
            lines += [f"[red]{each['context']} {gate['title']}[/]: {text}" for text in gate["missing"]]
        if each["copied"] and each["copied"]["holding"]:
            lines.append(f"[yellow]{each['context']} copy waits[/]: {each['copied']['holding']}")
    return lines


def spark(values: list[float]) -> str:
    """A curve of block characters, the highest value full."""
    top = max(values, default=0.0) or 1.0
    return "".join(BARS[round(value / top * (len(BARS) - 1))] for value in values[-20:])
