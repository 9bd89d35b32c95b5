"""Run everything in interleaved rounds and turn the medians into the ratios of the speed table."""

import os
from collections.abc import Callable
from functools import partial

from benchmarks import alone
from benchmarks.arena import Arena
from benchmarks.measures import copying, peer_copy, pipes, sync, verification, workers
from benchmarks.ratios import Samples

ORM_ROWS = 20_000
SYNC_ROWS = 200_000
SYNC_SHARE = 5

Say = Callable[[str], None]


def copy_rounds(arena: Arena, rounds: int, say: Say) -> Samples:
    """Pipes, our copies, the ORM loop and the peer, one after the other, `rounds` times."""
    found = Samples()
    orm_rows = min(arena.rows, ORM_ROWS)
    peer = peer_copy.available()
    if peer:
        say("two more databases for pgcopydb")
        peer_copy.prepare(arena)
    for number in range(1, rounds + 1):
        say(f"copy, round {number} of {rounds}")
        found.add("pipe, text", pipes.one_pipe(arena, "text"))
        found.add("our copy", copying.fresh_copy(arena))
        found.add("pipe, binary", pipes.one_pipe(arena, "binary"))
        found.add("our copy, two workers", workers.two_workers(arena))
        found.add("two pipes, text", pipes.two_pipes(arena, "text"))
        found.add("two pipes, binary", pipes.two_pipes(arena, "binary"))
        seconds, rate = copying.copy_with_live_events(arena)
        found.add("our copy, live", seconds)
        found.add("live rows a second", rate)
        found.add("ORM loop, seconds a million rows", copying.orm_loop(arena, orm_rows) / orm_rows * 1e6)
        if peer:
            found.add("pgcopydb", peer_copy.peer_copy(arena))
    return found


def verification_rounds(arena: Arena, rounds: int, say: Say) -> Samples:
    """Ours and reladiff on equal data and with differing rows, and the pipe again, since ratios are of one round."""
    found = Samples()
    pipes.fill(arena)
    for number in range(1, rounds + 1):
        say(f"verification, round {number} of {rounds}")
        found.add("pipe, text", pipes.one_pipe(arena, "text"))
        _clean(verification.ours(), found, "verification")
        found.add("pipe, binary", pipes.one_pipe(arena, "binary"))
        _clean(verification.ours(only_common=True), found, "verification, its columns")
        _clean(verification.peer(arena), found, "reladiff")
        with verification.differing(arena) as planted:
            found.add("planted", planted)
            for name, measure in (
                ("verification", partial(verification.ours, only_common=True)),
                ("reladiff", partial(verification.peer, arena)),
            ):
                seconds, keys = measure()
                found.add(f"{name}, differing rows", seconds)
                found.add(f"{name}, found", keys)
    return found


def sync_rounds(arena: Arena, rounds: int, say: Say) -> Samples:
    """The apply and the upsert inside the database, by turns."""
    found = Samples()
    rows = min(arena.rows, SYNC_ROWS)
    sync.prepare(arena)
    found.add("rows", rows)
    for number in range(1, rounds + 1):
        say(f"sync, round {number} of {rounds}")
        found.add("upsert inside", sync.inside(arena, rows))
        found.add("sync apply", sync.apply(arena, rows))
    return found


def memory(arenas: dict[int, Arena], say: Say) -> dict[str, dict[int, float]]:
    """Peak megabytes of each job in a process of its own, by the number of rows."""
    peaks: dict[str, dict[int, float]] = {job: {} for job in alone.JOBS}
    for rows, arena in arenas.items():
        os.environ.update(arena.environment())
        for job in alone.JOBS:
            say(f"memory of {job}, {rows:,} rows")
            if job == "copy":
                arena.empty()
            else:
                arena.forget()
            peaks[job][rows] = alone.peak_megabytes(arena, job, max(rows // SYNC_SHARE, 1) if job == "sync" else rows)
    return peaks


def _clean(result: tuple[float, int], found: Samples, name: str) -> None:
    seconds, differences = result
    if differences:
        raise RuntimeError(f"{name} reports {differences} differences in equal data")
    found.add(name, seconds)
