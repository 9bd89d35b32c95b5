"""pgcopydb on the same rows: the target's table, already mapped, from one database into another."""

import os
import re
import shutil
import subprocess
import tempfile

from psycopg import sql

from benchmarks.arena import TARGET, Arena
from benchmarks.measures import pipes

SENDER, RECEIVER = "peer_sender", "peer_receiver"
_DURATION = re.compile(rf"\|\s*{TARGET}\s*\|\s*([\da-z]+)")
_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def available() -> bool:
    """Whether pgcopydb is on PATH."""
    return shutil.which("pgcopydb") is not None


def prepare(arena: Arena) -> None:
    """Two databases with the service's table and nothing else; the first holds the mapped rows."""
    pipes.fill(arena)
    with arena.connect("postgres") as conn:
        for name in (SENDER, RECEIVER):
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    dump = [str(arena.programs / "pg_dump"), "-s", "-t", TARGET, "--no-comments", arena.address(arena.service)]
    schema = subprocess.run(dump, check=True, capture_output=True, text=True).stdout
    plain = re.sub(r"CREATE TRIGGER .*?;|ALTER TABLE [^;]* ENABLE ALWAYS TRIGGER [^;]*;|\\(un)?restrict.*", "", schema)
    for name in (SENDER, RECEIVER):
        subprocess.run([str(arena.programs / "psql"), "-Xq", "-v", "ON_ERROR_STOP=1", "-d", arena.address(name)],
                       check=True, input=plain, text=True, stdout=subprocess.DEVNULL)  # fmt: skip
    pipes.pipe_into(arena, f"TABLE {TARGET}", arena.service, SENDER, TARGET)
    with arena.connect(SENDER) as conn:
        conn.execute(f"VACUUM (ANALYZE) {TARGET}")


def peer_copy(arena: Arena) -> float:
    """Seconds of its COPY, by its own summary: without its start, its catalogue queries and its VACUUM."""
    with arena.connect(RECEIVER) as conn:
        conn.execute(f"TRUNCATE {TARGET}")
    with tempfile.TemporaryDirectory(prefix="strangle-bench-") as directory:
        done = subprocess.run(
            [
                *("pgcopydb", "copy", "table-data", "--table-jobs", "2", "--not-consistent", "--dir", directory),
                *("--source", arena.address(SENDER), "--target", arena.address(RECEIVER)),
            ],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # It calls pg_dump, which must not be older than the server.
            env={**os.environ, "PATH": f"{arena.programs}{os.pathsep}{os.environ['PATH']}"},
        )
    found = _DURATION.search(done.stdout)
    if done.returncode or found is None:
        raise RuntimeError(f"pgcopydb ended with exit status {done.returncode}: {done.stdout[-2000:]}")
    with arena.connect(RECEIVER) as conn:
        row = conn.execute(f"SELECT count(*) FROM {TARGET}").fetchone()
    if row is None or row[0] != arena.rows:
        raise RuntimeError(f"pgcopydb copied {row} of {arena.rows} rows")
    return seconds_of(found[1])


def seconds_of(text: str) -> float:
    """Its way to write a time: 340ms, 3s669, 2m14s."""
    parts = re.findall(r"(\d+)([a-z]*)", text)
    return sum(int(number) * _UNITS[unit or "ms"] for number, unit in parts)
