"""One of our jobs in a process of its own, which says at the end how much memory it has had at most."""

import re
import subprocess
import sys
from pathlib import Path

from benchmarks.arena import Arena

JOBS = ("copy", "verification", "sync")


def peak_megabytes(arena: Arena, job: str, rows: int) -> float:
    """Run the job on the arena as it is and give the process's peak memory (VmHWM)."""
    argv = [sys.executable, "-m", "benchmarks.alone", job, str(rows)]
    done = subprocess.run(argv, env=arena.environment(), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{job} in a process of its own ended with exit status {done.returncode}")
    return float(done.stdout.split()[-1])


def main(job: str, rows: int) -> None:
    """Do the job, then print the peak in megabytes."""
    import django

    django.setup()
    from benchmarks.measures import copying, sync, verification

    if job == "copy":
        copying.copy(rows)
    elif job == "verification":
        verification.ours()
    else:
        sync.apply_here(rows)
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise RuntimeError("this system does not say how much memory a process has had (no VmHWM in /proc)")
    print(int(found[1]) / 1024)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
