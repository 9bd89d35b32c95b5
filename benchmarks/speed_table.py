"""Turn medians into the rows of the speed table, and print them so that one sees at once which goals are met."""

from rich.console import Console
from rich.table import Table

from benchmarks.ratios import Ratio, Samples

MEGABYTES_AT_MOST = 200.0
FLAT = 1.15


def copy_ratios(found: Samples, rows: int) -> dict[str, Ratio]:
    """Rows a second against the pipes, pgcopydb and the ORM loop."""

    def speed(name: str) -> float:
        return rows / found[name]

    pipe = max(("pipe, text", "pipe, binary"), key=speed)
    pair = max(("two pipes, text", "two pipes, binary"), key=speed)
    orm = 1e6 / found["ORM loop, seconds a million rows"]
    live = f"the faster pipe, alone ({pipe}); {found['live rows a second']:.0f} rows a second written beside the copy"
    table = {
        "copy into a fresh target": _faster(speed("our copy"), speed(pipe), 1.0, f"the faster pipe ({pipe})"),
        "copy, beside pgcopydb": _faster(speed("our copy"), 0.0, 1.3, "pgcopydb is not installed"),
        "copy with live events": _faster(speed("our copy, live"), speed(pipe), 0.60, live),
        "two workers, to one pipe": _faster(speed("our copy, two workers"), speed(pipe), 1.5, f"one {pipe}"),
        "two workers, to two pipes": _faster(speed("our copy, two workers"), speed(pair), 0.90, pair),
        "copy, beside an ORM loop": _faster(speed("our copy"), orm, 20.0, "iterator() and bulk_create of 1,000"),
    }
    if "pgcopydb" in found:
        note = "its COPY alone, of rows already mapped"
        table["copy, beside pgcopydb"] = _faster(speed("our copy"), speed("pgcopydb"), 1.3, note)
    return table


def verification_ratios(found: Samples, rows: int) -> dict[str, Ratio]:
    """Rows a second against reladiff, seconds against the pipe's, and how many of the planted rows were found."""
    pipe = min(("pipe, text", "pipe, binary"), key=lambda name: found[name])
    ours, peer = (rows / found[name] for name in ("verification, its columns", "reladiff"))
    ours_differing, peer_differing = (rows / found[f"{name}, differing rows"] for name in ("verification", "reladiff"))
    missed = f"reladiff finds {found['reladiff, found']:.0f}"
    return {
        "verification of equal data": _faster(ours, peer, 2.5, "reladiff, on the columns that it can compare"),
        "verification, 100 rows differ": _faster(ours_differing, peer_differing, 8.0, "reladiff, the same columns"),
        "differing rows found": Ratio(
            measured=found["verification, found"],
            limit=found["planted"],
            goal=1.0,
            better="higher",
            unit="rows",
            note=missed,
        ),
        "verification, to the pipe": Ratio(
            measured=found["verification"],
            limit=found[pipe],
            goal=0.40,
            better="lower",
            unit="seconds",
            note=f"all columns, mapping pushed down; the faster pipe ({pipe})",
        ),
    }


def sync_ratios(found: Samples) -> dict[str, Ratio]:
    """Rows a second of the apply against the upsert inside the database."""
    rows = found["rows"]
    note = "the same upsert inside the database, 1,000 a transaction"
    return {"sync apply": _faster(rows / found["sync apply"], rows / found["upsert inside"], 0.50, note)}


def memory_ratios(peaks: dict[str, dict[int, float]]) -> dict[str, Ratio]:
    """Peak memory against the allowance, and against itself with a tenth of the rows."""
    table = {}
    for job, by_rows in peaks.items():
        few, many = sorted(by_rows)
        table[f"memory of {job}"] = Ratio(
            measured=by_rows[many],
            limit=MEGABYTES_AT_MOST,
            goal=1.0,
            better="lower",
            unit="MB",
            note=f"peak of its process (VmHWM) over {many:,} rows",
        )
        table[f"memory of {job}, 10 times the rows"] = Ratio(
            measured=by_rows[many],
            limit=by_rows[few],
            goal=FLAT,
            better="lower",
            unit="MB",
            note=f"against {few:,} rows: flat",
        )
    return table


def show(ratios: dict[str, Ratio], title: str) -> None:
    """Print the table and how many goals are met."""
    table = Table(title=title, title_justify="left", title_style="bold", row_styles=["", "dim"])
    for name, justify in (("quantity", "left"), ("measured", "right"), ("limit or peer", "right"), ("ratio", "right"),
                          ("goal", "right"), ("", "left"), ("against", "left")):  # fmt: skip
        table.add_column(name, justify=justify, no_wrap=name not in ("quantity", "against"))  # type: ignore[arg-type]
    for name, each in ratios.items():
        sign = "≥" if each.better == "higher" else "≤"
        verdict = "[green]met[/green]" if each.met else "[red]not met[/red]"
        table.add_row(
            name,
            _amount(each.measured, each.unit),
            _amount(each.limit, each.unit),
            f"{each.ratio:.2f}",
            f"{sign} {each.goal:.2f}",
            verdict,
            each.note,
        )
    console = Console(width=None if Console().is_terminal else 150)
    console.print(table)
    met = sum(each.met for each in ratios.values())
    console.print(f"{met} of {len(ratios)} goals are met")


def _faster(measured: float, limit: float, goal: float, note: str) -> Ratio:
    return Ratio(measured=measured, limit=limit, goal=goal, better="higher", unit="rows/s", note=note)


def _amount(value: float, unit: str) -> str:
    if unit == "seconds":
        return f"{value:.2f} s"
    if unit == "rows/s":
        return f"{value / 1000:.1f} k/s" if value else "not here"
    if unit == "ms":
        return f"{value:.1f} ms"
    return f"{value:,.0f} {unit}"
