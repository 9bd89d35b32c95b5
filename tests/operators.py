"""An operator's command in a process of its own, held at a named point of the code until the test lets it go on."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import ROOT, Pair

SECONDS = 60.0
IMPATIENT = {"ORDERS_SOAK_SECONDS": "0", "ORDERS_QUIET_SECONDS": "0.2"}


class Held:
    """A command that waits at its point; `go` lets it, `end` returns its exit code and what it said on stderr."""

    def __init__(self, process: "subprocess.Popen[str]", gate: Path) -> None:
        self.process = process
        self.gate = gate

    def go(self) -> None:
        self.gate.touch()

    def end(self) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, said


@contextmanager
def held(pair: Pair, command: str, point: str, gate: Path) -> Iterator[Held]:
    """Run `command orders` to the point and wait there; a command still alive at the end of the block is killed."""
    name, *args = command.split()
    process = subprocess.Popen(
        [sys.executable, "manage.py", name, "orders", *args],
        cwd=ROOT,
        env={**pair.environment(operator=True), **IMPATIENT, "STRANGLE_POINTS": f"{point}=wait:{gate}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + SECONDS
        while not gate.with_suffix(".reached").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, f"{command} never came to {point}"
            time.sleep(0.01)
        yield Held(process, gate)
    finally:
        process.kill()
        process.communicate()


def killed(pair: Pair, command: str, point: str) -> None:
    """Run the command in a process of its own, dying at the point; at most one side may write then."""
    name, *args = command.split()
    done = pair.manage(name, "orders", *args, STRANGLE_POINTS=f"{point}=kill", **IMPATIENT)
    assert done.returncode == -signal.SIGKILL, (done.returncode, done.stdout, done.stderr)
    assert len(owners(pair)) <= 1


def owners(pair: Pair) -> list[str]:
    """The sides whose own fence lets applications write."""
    found = []
    for side in ("shop", "orders"):
        with pair.connect(side) as conn:
            row = conn.execute("SELECT side, owner FROM strangle_ownership").fetchone()
            if row is not None and row[0] == row[1]:
                found.append(row[0])
    return found
