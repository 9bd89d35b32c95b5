"""The watchdog: outlives the demo, and when the demo is gone without a word ends what it left behind."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

GRACE_SECONDS = 5.0


def main() -> None:
    """Read orders from stdin until it closes.

    ``group N`` and ``gone N`` name process groups, ``directory D`` what to remove and where to look for
    PostgreSQL, ``done`` that all was put away. End of file without ``done`` means the demo was killed.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    directory: Path | None = None
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "group":
            groups.add(int(rest))
        elif word == "gone":
            groups.discard(int(rest))
        elif word == "directory":
            directory = Path(rest)
        elif word == "done":
            return
    end_groups(groups)
    if directory is not None:
        for pid_file in directory.glob("**/postmaster.pid"):
            _stop_postgres(pid_file)
        shutil.rmtree(directory, ignore_errors=True)


def end_groups(groups: set[int], grace: float = GRACE_SECONDS) -> None:
    """SIGTERM to every group, then SIGKILL to what is left after ``grace`` seconds."""
    for group in groups:
        _signal_group(group, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while any(_signal_group(group, 0) for group in groups) and time.monotonic() < deadline:
        time.sleep(0.05)
    for group in groups:
        _signal_group(group, signal.SIGKILL)


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _stop_postgres(pid_file: Path) -> None:
    try:
        postmaster = int(pid_file.read_text().split()[0])
        os.kill(postmaster, signal.SIGQUIT)
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline:
            os.kill(postmaster, 0)
            time.sleep(0.05)
        os.kill(postmaster, signal.SIGKILL)
    except (OSError, ValueError, IndexError):
        return


if __name__ == "__main__":
    main()
