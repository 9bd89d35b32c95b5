"""The limit of a copy: the mapped query through psql's COPY into psql's COPY, as text, as binary, two beside."""

import os
import subprocess
import time

from benchmarks.arena import TARGET, TWIN, Arena

Pipe = tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]


def pipe(arena: Arena, query: str, table: str, form: str) -> None:
    """COPY the query's rows of the shop into a table of the service with two psql and a pipe between them."""
    _finish([_start(arena, query, table, form)])


def fill(arena: Arena) -> None:
    """Make the service hold exactly the mapped shop."""
    arena.empty()
    pipe(arena, arena.query, TARGET, "binary")
    with arena.connect(arena.service) as conn:
        conn.execute(f"VACUUM (FREEZE, ANALYZE) {TARGET}")


def pipe_into(arena: Arena, query: str, source: str, target: str, table: str) -> None:
    """The same between any two databases and with all of the table's columns."""
    _finish([_start(arena, query, table, "binary", source=source, target=target, columns="")])


def one_pipe(arena: Arena, form: str) -> float:
    """One pipe of everything into the empty twin of the service's table, which has no triggers."""
    _empty_twin(arena)
    started = time.perf_counter()
    pipe(arena, arena.query, TWIN, form)
    return time.perf_counter() - started


def two_pipes(arena: Arena, form: str) -> float:
    """Two pipes side by side, each of half of the keys."""
    _empty_twin(arena)
    halves = [f"{arena.query} WHERE r.k0 {condition} {arena.rows // 2}" for condition in ("<=", ">")]
    started = time.perf_counter()
    _finish([_start(arena, query, TWIN, form) for query in halves])
    return time.perf_counter() - started


def _start(
    arena: Arena,
    query: str,
    table: str,
    form: str,
    *,
    source: str | None = None,
    target: str | None = None,
    columns: str | None = None,
) -> Pipe:
    psql = [str(arena.programs / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1"]
    names = f"({', '.join(arena.columns)})" if columns is None else columns
    out = subprocess.Popen(
        [*psql, "-d", arena.address(source or arena.shop), "-c", f"COPY ({query}) TO STDOUT (FORMAT {form})"],
        stdout=subprocess.PIPE,
    )
    into = subprocess.Popen(
        [
            *psql,
            *("-d", arena.address(target or arena.service)),
            *("-c", f"COPY {table} {names} FROM STDIN (FORMAT {form})"),
        ],
        stdin=out.stdout,
        # The fence lets the sync in, and what fills the service's own table is one.
        env={**os.environ, "PGOPTIONS": "-c strangle.applying=row"},
    )
    assert out.stdout is not None  # noqa: S101  (a pipe was asked for)
    out.stdout.close()
    return out, into


def _finish(pipes: list[Pipe]) -> None:
    for out_and_in in pipes:
        for process in out_and_in:
            if process.wait():
                raise RuntimeError(f"psql ended with exit status {process.returncode}; its message is above")


def _empty_twin(arena: Arena) -> None:
    with arena.connect(arena.service) as conn:
        conn.execute(f"TRUNCATE {TWIN}")
