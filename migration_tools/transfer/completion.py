"""What is left to do when every chunk is copied: put in the references that waited."""

from collections.abc import Callable

from migration_tools.kernel import points
from migration_tools.transfer.stops import Ends, stopped_at_tick
from migration_tools.transfer.waiting import put_in, waiting_tables


def complete_references(ends: Ends, *, pause: Callable[[], None] = lambda: None) -> int:
    """Put in every reference that waits, a portion a stop; returns how many. See Note [waiting references].

    Call when all projections are copied; `pause()` is asked before each portion. Safe to repeat.
    """
    done = 0
    while waiting_tables(ends.receiver, ends.stream):
        pause()
        with stopped_at_tick(ends):
            done += put_in(ends.receiver, ends.stream)
        points.reached("completion.portion_done")
    return done
