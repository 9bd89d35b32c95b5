"""Our copy with others beside the caller: threads of its process, or Celery's workers in processes of their own."""

import time
from contextlib import AbstractContextManager

from benchmarks.arena import Arena
from benchmarks.measures.ends import open_ends
from migration_tools.transfer.copy import copy_relation, whole_relations
from migration_tools.transfer.pieces import Crew
from migration_tools.transfer.workers import threads


def two_workers(arena: Arena) -> float:
    """Everything into the empty table with one thread beside the caller."""
    return copy_beside(arena, threads("default", "service", 1))


def copy_beside(arena: Arena, others: AbstractContextManager[Crew]) -> float:
    """Everything into the empty table with these beside the caller."""
    arena.empty()
    started = time.perf_counter()
    with open_ends() as ends, others as crew:
        for relation in whole_relations(ends.sender, "bench"):
            for _ in copy_relation(ends, relation, "benchmark", crew=crew):
                pass
    return time.perf_counter() - started
