"""Planted protocol bugs: each replaces one decision or one order of steps, and the model check must find it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from migration_tools.kernel.ownership import Resume, resume
from migration_tools.kernel.positions import Admission, admit
from migration_tools.kernel.records import newest
from migration_tools.testing.model import scenarios
from migration_tools.testing.model.protocol import Protocol
from migration_tools.testing.model.transactions import Insert, Publish, Rename, Update, transaction
from migration_tools.testing.model.world import Scenario


@dataclass(frozen=True)
class Mutant:
    """A bug, as a patch of the protocol, and the scenario in which it shows."""

    name: str
    scenario: Scenario
    patch: dict[str, Any]

    def planted(self) -> Scenario:
        """The scenario with the bug in it."""
        return replace(self.scenario, name=self.name, protocol=Protocol(**self.patch))


TWO_WRITES = Scenario(
    name="two transactions",
    rows=((1, "a"), (2, "a")),
    transactions=(
        transaction("T1", Update(1, "b"), Update(2, "b")),
        transaction("T2", Update(2, "c")),
    ),
)
APART = replace(TWO_WRITES, transactions=(TWO_WRITES.transactions[0], transaction("T2", Insert(3, "c"))))
RENAMED = Scenario(
    name="two new names and a row",
    transactions=(transaction("T1", Rename("m")), transaction("T2", Rename("o"), Update(1, "b"))),
)
EVENTS = Scenario(
    name="two events",
    transactions=(transaction("T1", Publish("E1")), transaction("T2", Update(1, "b"), Publish("E2"))),
    crashes=1,
)
SWIFT = replace(scenarios.CUTOVER, name="a cutover without mishap", crashes=0, give_ups=0)
ONE_CHUNK = replace(scenarios.CRASH, chunks=(None,), crashes=0)
DRAWN = Scenario(
    name="keys drawn on both sides",
    transactions=(transaction("T1", Insert(None, "b")), transaction("T2", Insert(None, "c"))),
    moves=(1,),
)


def _hole_ignored(at: int, first: int, last: int) -> Admission:
    return Admission.SKIP if last <= at else Admission.TAKE


def _duplicate_taken(at: int, first: int, last: int) -> Admission:
    return Admission.TAKE if last <= at else admit(at, first, last)


def _first_wins(relations: Any, rows: Any) -> Any:
    return newest(relations, reversed(list(rows)))


def _patches_dropped(relations: Any, rows: Any) -> Any:
    whole, patches = newest(relations, rows)
    return whole, [patch for patch in patches if not any(patch.key in keys for keys in whole.values())]


def _patch_survives_a_row(relations: Any, rows: Any) -> Any:
    found = list(rows)
    whole, _ = newest(relations, found)
    return whole, [row for row in found if row.kind == "p"]


def _nobody_is_done(*, closing_writes: bool, opening_writes: bool) -> Resume:
    found = resume(closing_writes=closing_writes, opening_writes=opening_writes)
    return Resume.DONE if found is Resume.COMPLETE else found


def _everything_is_fresh(records: Any, at: int) -> list[Any]:
    return list(records)


def _follow_skips(previous: Any) -> tuple[int, int]:
    return (1, 0) if previous is None else (previous[0] + 1, previous[1])


def _only_upsert(gone: Any, changed: Any) -> Any:
    yield []


def _constant(value: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: value


# fmt: off
MUTANTS = (
    Mutant("the outbox is read by number alone", TWO_WRITES, {"cursor": "seq"}),
    Mutant("the outbox is read by number, below the oldest running transaction", APART, {"cursor": "horizon"}),
    Mutant("a tick takes only ids above the last tick's", TWO_WRITES,
           {"news_since": lambda xid, previous: previous is None or xid >= previous.xmax}),
    Mutant("retention drops up to the last tick's end instead of its beginning", TWO_WRITES,
           {"forgettable": lambda xid, last: xid < last.xmax}),
    Mutant("a tick's rows are read after its snapshot", TWO_WRITES, {"rows_in_snapshot": False}),
    Mutant("two ticks at once, without lock or key", replace(scenarios.CRASH, crashes=0),
           {"tick_lock": False, "tick_unique": False}),
    Mutant("a tick counts from the base of the one before", TWO_WRITES, {"follow": _follow_skips}),
    Mutant("the end of a row is not recorded", scenarios.CRASH, {"endings": _constant([])}),
    Mutant("a changed key leaves its old key behind", scenarios.KEYS, {"old_key_captured": False}),
    Mutant("capture does not wait for transactions that write", scenarios.START, {"install_waits": False}),
    Mutant("what the sync applies is captured", TWO_WRITES, {"apply_captured": True}),
    Mutant("a hole is ignored", TWO_WRITES, {"admit": _hole_ignored}),
    Mutant("a duplicate is applied again", EVENTS, {"admit": _duplicate_taken, "fresh": _everything_is_fresh}),
    Mutant("the position is committed before the effects", EVENTS, {"one_transaction": False}),
    Mutant("the first state of a key wins", TWO_WRITES, {"newest": _first_wins}),
    Mutant("a patch after a whole row is dropped", scenarios.NAMES, {"newest": _patches_dropped}),
    Mutant("a patch before a whole row is applied after it", RENAMED, {"newest": _patch_survives_a_row}),
    Mutant("a unique value is not freed before it is used again", scenarios.KEYS, {"departures": _only_upsert}),
    Mutant("versions are drawn when the transaction starts to write", TWO_WRITES, {"guard": "xid"}),
    Mutant("rows fall back to the events' position", scenarios.CRASH, {"advance": lambda rows_at, last: (last, 0)}),
    Mutant("copied rows are inserted where absent, without tombstones", ONE_CHUNK,
           {"gate": False, "drained": False, "chunk_deletes": False}),
    Mutant("the consumer goes on while a chunk is copied", ONE_CHUNK, {"gate": False}),
    Mutant("a chunk is not written where the receiver stands at its tick", ONE_CHUNK, {"drained": False}),
    Mutant("a chunk is read before its tick", ONE_CHUNK, {"chunk_snapshot": "before"}),
    Mutant("a chunk leaves rows that it does not have", ONE_CHUNK, {"drained": False, "chunk_deletes": False}),
    Mutant("the checkpoint is committed before the chunk", scenarios.CRASH, {"checkpoint_with_rows": False}),
    Mutant("writers do not share the fence's lock", SWIFT, {"fence_lock": False}),
    Mutant("the owner is read before the lock is taken", SWIFT, {"owner_read": "before"}),
    Mutant("an older snapshot's owner is believed", SWIFT, {"owner_read": "snapshot"}),
    Mutant("the rest is applied before the lock is taken", SWIFT, {"drain_behind_lock": False}),
    Mutant("the old owner is closed before the rest is applied", SWIFT, {"drain": False}),
    Mutant("the new owner is opened before the old one is closed", scenarios.CUTOVER, {"close_first": False}),
    Mutant("a hand-over that was cut off is taken for done", scenarios.CUTOVER, {"resume": _nobody_is_done}),
    Mutant("the new owner is opened before it has handled the last events", scenarios.CUTOVER,
           {"await_events": False}),
    Mutant("an epoch is not above the last", scenarios.CUTOVER, {"next_epoch": max}),
    Mutant("the key sequence is not moved", DRAWN, {"key_to_draw_from": _constant(None)}),
    Mutant("a rollback does not apply what the service has written", scenarios.BACK,
           {"drain": False, "await_events": False}),
)
# fmt: on
