"""End the processes that a CI run left behind, and fail when there were any.

Usage: left_running.py MARK, where MARK is the STRANGLER_CI_RUN that every process of the run inherited.
PostgreSQL overwrites its environment with its title, so a program inside the checkout counts too.
"""

import os
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GRACE_SECONDS = 15.0
#: Erlang's port mapper is a daemon by design and outlives every RabbitMQ: ended, but no failure.
DAEMONS = {"epmd"}


def find(mark: str) -> dict[int, str]:
    """Map the pid of each process of the run to its command line, without ourselves and our ancestors."""
    spared = ancestors()
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        pid = int(directory.name)
        if pid not in spared and belongs(directory, mark):
            found[pid] = command_line(directory)
    return {pid: command for pid, command in found.items() if command}


def ancestors() -> set[int]:
    """Walk up from this process to the first one."""
    pids, pid = set(), os.getpid()
    while pid > 0 and pid not in pids:
        pids.add(pid)
        stat = Path(f"/proc/{pid}/stat").read_text()
        pid = int(stat.rpartition(")")[2].split()[1])
    return pids


def belongs(directory: Path, mark: str) -> bool:
    """Tell whether a process was started by the run; one that ended meanwhile was not."""
    try:
        if f"STRANGLER_CI_RUN={mark}".encode() in (directory / "environ").read_bytes().split(b"\0"):
            return True
        program = Path(os.readlink(directory / "exe"))
        place = Path(os.readlink(directory / "cwd"))
    except OSError:
        return False
    return program.is_relative_to(ROOT) or place.is_relative_to(ROOT / "var")


def command_line(directory: Path) -> str:
    """Read what a process was called with; empty for a zombie."""
    try:
        return (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def main(mark: str) -> int:
    """Wait for stragglers, then name and end what is left."""
    deadline = time.monotonic() + GRACE_SECONDS
    while (left := find(mark)) and time.monotonic() < deadline:
        time.sleep(0.25)
    for pid, command in left.items():
        print(f"left running: {pid} {command[:200]}")
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            continue
    return any(Path(command.split()[0]).name not in DAEMONS for command in left.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
