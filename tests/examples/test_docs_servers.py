"""Lines of the pages that work on until they are told to stop are started as processes: they connect, and end in order.

Addresses and directories of a line are replaced by ones of this run, and every service by the orders service's
database, whose tables of the toolkit all services have alike; nothing else is changed.
"""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from migration_tools.errors import ExitCode
from tests.conftest import ROOT, Pair
from tests.examples.test_docs_commands import leaf, lines
from tests.integration.proxy_rig import free_port
from tests.unit.test_manners import NATURES, WORKS_ON

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(600)]

SECONDS = 120.0
REFUSAL_SECONDS = 30.0
AT_ONCE = 3
SIGTERM_BIT = 1 << (signal.SIGTERM - 1)
#: Lines about what this shop does not have; they refuse in a sentence that says what to declare.
ELSEWHERE = (
    "strangle_changes", "strangle_consume notes", "strangle_ingest", "strangle_replicate", "strangle_route follow",
)  # fmt: skip


def started() -> list[tuple[str, ...]]:
    """Every such line, and those that are meant for another side's settings."""
    return [
        words
        for words in lines()
        if NATURES[leaf(words)] == WORKS_ON or "--settings" in words or words[:2] == ("strangle_sagas", "run")
    ]


@pytest.fixture
def room() -> Iterator[Path]:
    """A short path: Envoy's sockets live in it."""
    made = Path(tempfile.mkdtemp(prefix="sx"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def ours(words: tuple[str, ...], room: Path) -> list[str]:
    """The line with this run's addresses and directories."""
    place = room / f"{abs(hash(words)):x}"[:6]
    return [
        f"127.0.0.1:{free_port()}"
        if re.fullmatch(r"[\d.]+:\d+", word)
        else str(place)
        if before == "--directory"
        else word
        for before, word in zip(("", *words), words, strict=False)
    ]


def environment(words: tuple[str, ...], pair: Pair) -> dict[str, str]:
    """As the owner of one side: of the service whose settings the line names, or of the monolith."""
    if words[0] == "strangle_operate" or "--watch" in words:
        return pair.environment(operator=True)
    env = pair.environment()
    if "--settings" not in words:
        return env | {"ORDERS_DB_NAME": "", "STRANGLE_SHADOW_ADDRESS": f"127.0.0.1:{free_port()}"}
    name = words[words.index("--settings") + 1].split(".")[1].upper()
    side = {"HOST": env["ORDERS_DB_HOST"], "PORT": env["ORDERS_DB_PORT"], "NAME": pair.orders, "USER": "orders_owner"}
    # Nobody answers there: a consumer tries again until somebody does.
    there = {"MONOLITH_ADDRESS": "http://127.0.0.1:9", "ORDERS_ADDRESS": "http://127.0.0.1:9"}
    return env | there | {f"{name}_DB_{key}": value for key, value in side.items()}


def serves(process: psutil.Process, port: int) -> bool:
    """Whether it heeds SIGTERM and is connected to the database."""
    caught = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    if caught is None or not int(caught[1], 16) & SIGTERM_BIT:
        return False
    return any(each.raddr and each.raddr.port == port for each in process.net_connections("tcp"))


def run(words: tuple[str, ...], pair: Pair, room: Path) -> tuple[str, int, str]:
    """How it went: "served" or "ended" by itself; its exit code, and what it said."""
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen(
            [sys.executable, "manage.py", *ours(words, room)],
            cwd=ROOT, env=environment(words, pair), stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
        how, deadline = "ended", time.monotonic() + SECONDS
        # What is about to refuse is connected too: let it say so before it is told to end.
        earliest = time.monotonic() + (REFUSAL_SECONDS if " ".join(words).startswith(ELSEWHERE) else 0.0)
        try:
            process = psutil.Process(child.pid)
            while child.poll() is None:
                if time.monotonic() > earliest and serves(process, pair.cluster.port):
                    how = "served"
                    child.terminate()
                    break
                assert time.monotonic() < deadline, f"{' '.join(words)} never served"
                time.sleep(0.05)
            child.wait(SECONDS)
        finally:
            child.kill()
            child.wait()
        out.seek(0)
        return how, child.returncode, out.read()


def test_what_works_on_connects_heeds_sigterm_and_ends_with_0(pair: Pair, room: Path) -> None:
    asked = started()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip(asked, pool.map(lambda words: run(words, pair, room), asked), strict=True))
    codes, faults = {each.value for each in ExitCode}, []
    for words, (how, code, said) in found.items():
        foreign = " ".join(words).startswith(ELSEWHERE)
        fine = code == 0 or (foreign and code in codes and "CommandError" in said)
        if not fine or "Traceback" in said:
            faults.append(f"{' '.join(words)}: {how}, exit code {code}, {said[-400:]!r}")
    print(*(f"{how} {code} {' '.join(words)}" for words, (how, code, _) in found.items()), *faults, sep="\n")
    assert faults == []
    served = {leaf(words) for words, (how, _, _) in found.items() if how == "served"}
    assert served >= {"strangle_relay", "strangle_consume", "strangle_operate", "strangle_proxy run", "strangle_sagas"}
    assert len(found) > 30
