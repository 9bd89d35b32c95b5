"""Our copy with two workers: threads of one process, each on connections of its own."""

import time

from benchmarks.arena import Arena
from benchmarks.measures.ends import open_ends
from migration_tools.transfer.copy import copy_relation, whole_relations
from migration_tools.transfer.workers import threads


def two_workers(arena: Arena) -> float:
    """Everything into the empty table with one worker beside the caller."""
    arena.empty()
    started = time.perf_counter()
    with open_ends() as ends, threads("default", "service", 1) as crew:
        for relation in whole_relations(ends.sender, "bench"):
            for _ in copy_relation(ends, relation, "benchmark", crew=crew):
                pass
    return time.perf_counter() - started
