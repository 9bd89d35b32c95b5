"""Our copy with two workers: threads of one process, each on connections of its own."""

import time

from benchmarks.arena import Arena
from benchmarks.measures.copying import copy
from benchmarks.measures.ends import open_ends
from migration_tools.transfer.copy import copy_relation, whole_relations


def two_workers(arena: Arena) -> float:
    """Everything into the empty table with one worker beside the caller."""
    arena.empty()
    try:
        from migration_tools.transfer.workers import threads
    except ImportError:  # a checkout in which the copy has no workers yet
        return copy(arena.rows)
    started = time.perf_counter()
    with open_ends() as ends, threads("default", "service", 1) as crew:
        for relation in whole_relations(ends.sender, "bench"):
            for _ in copy_relation(ends, relation, "benchmark", crew=crew):
                pass
    return time.perf_counter() - started
