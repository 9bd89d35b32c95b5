"""The seven phases and the moves between neighbours."""

from enum import StrEnum
from itertools import pairwise


class Phase(StrEnum):
    """Where a context stands; who writes and who reads is beside each."""

    MONOLITH_ONLY = "monolith_only"  # writes: monolith · reads: monolith
    DUAL_WRITE = "dual_write"  # writes: monolith, synced to the service · reads: monolith
    BACKFILL = "backfill"  # the same, with history copied
    VERIFY = "verify"  # the same, compared and found equal
    SWITCH_READS = "switch_reads"  # writes: monolith · reads: service, by share
    CUTOVER = "cutover"  # writes: service, carried back to the monolith · reads: service
    DECOMMISSION = "decommission"  # writes: service · reads: service; the old tables are put away


ORDER = list(Phase)
FORWARD = dict(pairwise(ORDER))
BACKWARD = {after: before for before, after in FORWARD.items()}
