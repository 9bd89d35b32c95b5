"""What every benchmark leaves: lines of progress while it runs, its table, and a file with each single sample."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.ratios import Ratio, Samples
from benchmarks.speed_table import show


def teller(started: float) -> Callable[[str], None]:
    """Says on stderr what is being done, with the seconds since `started` (of the monotonic clock)."""

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {text}", file=sys.stderr, flush=True)

    return say


def finish(
    output: Path,
    title: str,
    *,
    started: float,
    ratios: Mapping[str, Ratio],
    samples: Mapping[str, Samples],
    **said: Any,
) -> None:
    """Print the table and write the file; `said` comes first in it: machine, sizes, rounds."""
    show(dict(ratios), title)
    report: dict[str, Any] = {
        **said,
        "seconds": round(time.monotonic() - started, 1),
        "ratios": {name: each.to_json() for name, each in ratios.items()},
        "samples": {part: found.to_json() for part, found in samples.items()},
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    print(f"written to {output}")
