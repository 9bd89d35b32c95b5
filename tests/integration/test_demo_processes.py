"""The demo's supervisor: clear words when a process dies, and nothing left running, whatever happens."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo import ROOT
from demo.processes import NotReady, ProcessDied, Supervisor, choose_ports, plain_environment

SLEEPS_WITH_A_CHILD = (
    "import subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print(child.pid, flush=True); time.sleep(600)"
)
KILLED_SUPERVISOR = """
import os, pathlib, signal, sys
from demo.processes import Supervisor, plain_environment
supervisor = Supervisor(pathlib.Path(sys.argv[1]))
child = supervisor.start("sleeper", [sys.executable, "-c", sys.argv[2]], plain_environment())
supervisor.await_condition("the grandchild", lambda: child.log.read_text().strip() != "")
print(child.process.pid, child.log.read_text().strip(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    with Supervisor(tmp_path) as made:
        yield made
    made.dismiss_watchdog()


def python(supervisor: Supervisor, name: str, code: str):
    return supervisor.start(name, [sys.executable, "-c", code], plain_environment())


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def awaited(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_process_that_dies_early_is_named_with_the_end_of_its_log(supervisor: Supervisor) -> None:
    python(supervisor, "relay", "print('no such database'); raise SystemExit(3)")
    with pytest.raises(ProcessDied, match=r"relay died \(exit code 3\).*\nno such database"):
        supervisor.await_condition("something that never comes", lambda: False, 15.0)


def test_a_condition_that_is_not_met_is_named(supervisor: Supervisor) -> None:
    with pytest.raises(NotReady, match="the moon was not reached in 0 s"):
        supervisor.await_condition("the moon", lambda: False, 0.1)


def test_closing_ends_children_and_grandchildren(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    child = python(supervisor, "parent", SLEEPS_WITH_A_CHILD)
    supervisor.await_condition("the grandchild", lambda: child.log.read_text().strip() != "")
    grandchild = int(child.log.read_text())
    supervisor.close()
    supervisor.dismiss_watchdog()
    assert child.process.returncode is not None
    assert awaited(lambda: gone(grandchild))


def test_a_process_deaf_to_sigterm_is_killed(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo.processes.STOP_SECONDS", 0.5)
    ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    deaf = f"{ignore} print('deaf', flush=True); time.sleep(600)"
    child = python(supervisor, "deaf", deaf)
    supervisor.await_condition("deafness", lambda: child.log.read_text().strip() == "deaf")
    supervisor.stop(child)
    assert child.process.returncode == -signal.SIGKILL


def test_when_the_demo_is_killed_its_watchdog_ends_everything(tmp_path: Path) -> None:
    directory = tmp_path / "playground"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_SUPERVISOR, str(directory), SLEEPS_WITH_A_CHILD],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    child, grandchild = map(int, killed.stdout.split())
    assert awaited(lambda: gone(child) and gone(grandchild))
    assert awaited(lambda: not directory.exists())


def test_a_command_is_given_up_when_the_stack_breaks(supervisor: Supervisor) -> None:
    python(supervisor, "consumer", "import time; time.sleep(0.3); raise SystemExit(1)")
    started = time.monotonic()
    with pytest.raises(ProcessDied, match="consumer died"):
        supervisor.call([sys.executable, "-c", "import time; time.sleep(600)"], plain_environment(), 300.0)
    assert time.monotonic() - started < 20


def test_what_steers_a_stack_is_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DB_NAME", "production")
    monkeypatch.setenv("PGHOST", "production.example")
    assert not {"SHOP_DB_NAME", "PGHOST"} & plain_environment().keys()
    assert plain_environment()["PATH"] == os.environ["PATH"]


def test_ports_are_below_those_of_outgoing_connections() -> None:
    ports = choose_ports(4)
    assert len(set(ports)) == 4
    assert max(ports) < 32_768
