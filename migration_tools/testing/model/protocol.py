"""The decisions under check: the engine's own functions, and how the model wires them; a planted bug replaces one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from migration_tools.kernel import ownership, positions, records, snapshots


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The first part are functions that the engine calls (or, for ticks, says in SQL); the second is the order of
    steps."""

    news_since: Callable[[int, Any], bool] = snapshots.news_since
    forgettable: Callable[[int, Any], bool] = snapshots.forgettable
    follow: Callable[[Any], tuple[int, int]] = positions.follow
    admit: Callable[[int, int, int], positions.Admission] = positions.admit
    fresh: Callable[[Any, int], list[Any]] = positions.fresh
    advance: Callable[[int, int], tuple[int, int]] = positions.advance
    accepted: Callable[..., set[int]] = records.accepted
    newest: Callable[..., tuple[dict[str, dict[Any, Any]], list[Any]]] = records.newest
    departures: Callable[[Any, Any], Any] = records.departures
    endings: Callable[[Any, Callable[[Any], bool]], list[Any]] = records.endings
    resume: Callable[..., ownership.Resume] = ownership.resume
    next_epoch: Callable[..., int] = ownership.next_epoch
    key_to_draw_from: Callable[[int, int, int], int | None] = ownership.key_to_draw_from

    # Capture.
    install_waits: bool = True  # CREATE TRIGGER waits for transactions that have written the table
    old_key_captured: bool = True  # an UPDATE's keys are those before and after
    apply_captured: bool = False  # what the apply path writes is captured too
    # Ticks.
    cursor: str = "snapshot"  # or 'seq': by number alone; 'horizon': by number, below the oldest running transaction
    tick_lock: bool = True  # one at a time, and the snapshot is taken behind the lock
    tick_unique: bool = True  # (stream, number) is the primary key
    rows_in_snapshot: bool = True  # rows are read in the tick's own snapshot
    # Consumer.
    one_transaction: bool = True  # effects and position commit together
    guard: str = ""  # 'xid': apply only rows of a newer version, which was drawn at the transaction's first write
    # Copy.
    gate: bool = True  # the receiver stands still from the tick to the chunk's commit
    drained: bool = True  # the chunk is written where the receiver stands at its tick
    chunk_snapshot: str = "tick"  # or 'before': read before the tick was taken
    chunk_deletes: bool = True  # keys that the chunk lacks are deleted; else rows are inserted only where absent
    checkpoint_with_rows: bool = True  # the checkpoint commits with the chunk, not before it
    # Fence and hand-over.
    fence_lock: bool = True  # writers share the lock, the hand-over excludes them
    owner_read: str = "locked"  # 'before': ahead of the lock; 'snapshot': an old snapshot is believed
    drain_behind_lock: bool = True
    drain: bool = True  # the rest is applied before the old owner is closed
    close_first: bool = True
    await_events: bool = True
