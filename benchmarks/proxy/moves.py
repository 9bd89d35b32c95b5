"""Flips and cutovers under writes: how long the old side still answers, and what a hold costs those who wait."""

import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from benchmarks.proxy.stage import CONTEXT, Stage
from benchmarks.proxy.writers import Written
from benchmarks.ratios import Ratio, Samples

FLIP_RATE, HELD_RATE = 300.0, 300.0
PAUSE_SECONDS = 0.25
FENCE_SECONDS = (0.05, 0.5, 0.1, 2.0, 0.2, 1.0, 0.05, 0.3)
STALE_MS, EXTRA_MS = 100.0, 100.0

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Moved:
    """One change of the owner: from publishing to Envoy's confirmation; for a hold, also when nobody owned it."""

    to: str
    began: float
    ended: float
    closed: float = 0.0
    opened: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Moves:
    """What was done and what became of every write."""

    samples: Samples
    moves: list[Moved]
    written: list[Written]
    errors: int
    lost: int
    duplicated: int


def flips(scene: Stage, count: int, rounds: int, say: Say) -> Moves:
    """Flip the writes to and fro while both sides take them, so that an answer tells by whose route it came."""
    from migration_tools.routing import publishing

    found = Samples()
    moves: list[Moved] = []
    scene.own("both")
    with scene.writing(FLIP_RATE) as written:
        for number in range(rounds):
            say(f"flips, round {number + 1} of {rounds}")
            for to in itertools.islice(itertools.cycle(("new", "old")), count + count % 2):
                _pause(PAUSE_SECONDS)
                began = time.monotonic()
                table = publishing.set_writes(CONTEXT, to)  # type: ignore[arg-type]
                publishing.wait_applied(table.version)
                ended = time.monotonic()
                moves.append(Moved(to=to, began=began, ended=ended))
        _pause(PAUSE_SECONDS)
    per_round = [moves[at : at + len(moves) // rounds] for at in range(0, len(moves), len(moves) // rounds)]
    for part in per_round:
        found.add("last stale milliseconds, p99", _quantile([_last_stale(move, written) for move in part], 0.99))
        found.add("stale after the confirmation", float(sum(_late(move, written) for move in part)))
    return _counted(found, moves, written, scene)


def holds(scene: Stage, count: int, rounds: int, say: Say) -> Moves:
    """Hand over as the hand-over does: hold, wait for Envoy, close, be away for the fence's time, open, release."""
    from migration_tools.routing import publishing

    found = Samples()
    moves: list[Moved] = []
    targets = itertools.cycle(("new", "old"))
    scene.own("old")
    fences = itertools.cycle(FENCE_SECONDS)
    with scene.writing(HELD_RATE) as written:
        for number in range(rounds):
            say(f"holds, round {number + 1} of {rounds}")
            for to in itertools.islice(targets, -(-count // rounds)):
                _pause(PAUSE_SECONDS)
                fence = next(fences)
                began = time.monotonic()
                held = publishing.set_writes(CONTEXT, "hold")
                publishing.wait_applied(held.version)
                closed = scene.own("nobody")
                _pause(fence)
                opened = scene.own(to)
                table = publishing.set_writes(CONTEXT, to)  # type: ignore[arg-type]
                publishing.wait_applied(table.version)
                moves.append(Moved(to=to, began=began, ended=time.monotonic(), closed=closed, opened=opened))
            _pause(PAUSE_SECONDS)
    size = -(-count // rounds)
    for at in range(0, len(moves), size):
        extra = [value for move in moves[at : at + size] for value in _extra(move, written)]
        found.add("extra milliseconds, p50", _quantile(extra, 0.5))
        found.add("extra milliseconds, p99", _quantile(extra, 0.99))
        found.add("extra milliseconds, worst", max(extra))
        found.add("writes held", float(len(extra)))
    return _counted(found, moves, written, scene)


def flip_ratios(found: Moves) -> dict[str, Ratio]:
    """How long the old side is still asked."""
    return {
        "flip to last stale request, p99": Ratio(
            measured=found.samples["last stale milliseconds, p99"],
            limit=STALE_MS,
            goal=1.0,
            better="lower",
            unit="ms",
            note=f"from publishing, {FLIP_RATE:g} writes/s, {len(found.moves)} flips; the agent polls every 50 ms",
        ),
        "stale requests after the confirmation": Ratio(
            measured=found.samples["stale after the confirmation"],
            limit=float(len(found.written)),
            goal=0.0,
            better="lower",
            unit="writes",
            note="all writes; what waits for the confirmation may rely on it",
        ),
    }


def hold_ratios(found: Moves) -> dict[str, Ratio]:
    """What became of the writes, and how much longer than the fence the held ones waited."""
    total = float(len(found.written))
    rows = {
        f"{what} writes in {len(found.moves)} cutovers": Ratio(
            measured=float(number),
            limit=total,
            goal=0.0,
            better="lower",
            unit="writes",
            note=f"all writes, {HELD_RATE:g} a second, fences of 50 to 2,000 ms",
        )
        for what, number in (("failed", found.errors), ("lost", found.lost), ("duplicated", found.duplicated))
    }
    rows["extra latency of a held write, p99"] = Ratio(
        measured=found.samples["extra milliseconds, p99"],
        limit=EXTRA_MS,
        goal=1.0,
        better="lower",
        unit="ms",
        note=f"beyond the fence; median {found.samples['extra milliseconds, p50']:.0f} ms, "
        f"worst {found.samples['extra milliseconds, worst']:.0f} ms",
    )
    return rows


def _counted(samples: Samples, moves: list[Moved], written: list[Written], scene: Stage) -> Moves:
    """Compare what customers were told with what the sides have taken, id by id."""
    times = Counter(scene.taken())
    acknowledged = {name for name, _, _, status, _ in written if status == 200}
    return Moves(
        samples=samples,
        moves=moves,
        written=written,
        errors=len(written) - len(acknowledged),
        lost=len(acknowledged - times.keys()),
        duplicated=sum(number - 1 for number in times.values()),
    )


def _extra(move: Moved, written: list[Written]) -> list[float]:
    """Milliseconds that each write which waited in this hold did so while one of the sides was open."""
    return [
        ((end - begin) - (move.opened - max(begin, move.closed))) * 1000
        for _, begin, end, status, _ in written
        if status == 200 and begin < move.opened <= end and begin > move.began - PAUSE_SECONDS
    ]


def _last_stale(move: Moved, written: list[Written]) -> float:
    """Milliseconds from publishing to the begin of the last write that still went to the other side."""
    stale = [begin for begin in _stale(move, written) if begin < move.ended + PAUSE_SECONDS]
    return max(((begin - move.began) * 1000 for begin in stale), default=0.0)


def _late(move: Moved, written: list[Written]) -> int:
    return sum(move.ended < begin < move.ended + PAUSE_SECONDS for begin in _stale(move, written))


def _stale(move: Moved, written: list[Written]) -> list[float]:
    return [begin for _, begin, _, status, side in written if status == 200 and side != move.to and begin > move.began]


def _quantile(values: list[float], share: float) -> float:
    if not values:
        raise RuntimeError("nothing was held or stale; the rate is too low for the number of moves")
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def _pause(seconds: float) -> None:
    Event().wait(seconds)
