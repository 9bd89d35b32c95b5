"""Hand a context over from one side to the other: close the old owner first, then open the new; never two owners.
 Note [hand-over]. The exclusive FENCE lock waits for every transaction that has written the context; behind it a tick
numbers all they wrote, and it is applied. Closing and the lock's release are one commit, so a writer that waited finds
the fence closed. A crash before that commit leaves the old owner, one after it leaves nobody: running the command again
reads both fences and completes it. We are the victim: the lock is asked for with a short timeout, again and again.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from migration_tools.capture.models import Side
from migration_tools.capture.ownership import set_owner
from migration_tools.conf import settings
from migration_tools.errors import FenceBusy, RoutingError, StrangleError
from migration_tools.kernel import points
from migration_tools.kernel.locks import LockClass
from migration_tools.kernel.ownership import Resume, key_to_draw_from, next_epoch, resume
from migration_tools.messaging import lag as lags
from migration_tools.messaging.inbox import positions
from migration_tools.messaging.stream import head
from migration_tools.phases.surroundings import Surroundings
from migration_tools.playbook.pairs import PairedColumns, paired_columns
from migration_tools.routing import publishing, streams
from migration_tools.routing.planes.capabilities import capabilities
from migration_tools.routing.table import Side as Routed
from migration_tools.stores.postgres import Connection, advisory, connect, errors, transaction
from migration_tools.stores.postgres.catalog import read_sequence
from migration_tools.transfer.stops import Ends, gate, pre_drain, stopped_at_tick

SMALL_TAIL = 50
SEQUENCE_MARGIN = 1_000
EVENTS_SECONDS = 10.0
CONFIRM_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class HandOver:
    """What happened: the new epoch, records drained behind the lock, attempts, how long writers were shut out."""

    epoch: int
    drained_events: int
    attempts: int
    pause_ms: float
    position: int
    proxies: int

    def evidence(self) -> dict[str, Any]:
        """As journalled."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def hand_over(env: Surroundings, to: Side) -> HandOver:
    """Make `to` the owner; completes a hand-over that was cut off, does nothing when it is done.

    Raises:
        FenceBusy: writers never paused within the budget; the old owner writes on as before.
        StrangleError: the new owner's consumer does not handle events; the old owner was opened again.
    """
    closing, opening = env.owner(to.other), env.owner(to)
    if closing is None or opening is None:
        raise StrangleError(
            f"no fence is installed for {env.context!r} on both sides; run strangle_doctor {env.context} --mend"
        )
    todo = resume(closing_writes=closing.may_write, opening_writes=opening.may_write)
    if todo is Resume.DONE:
        publish_owner(env, to)
        return HandOver(epoch=opening.epoch, drained_events=0, attempts=0, pause_ms=0.0, position=0, proxies=0)
    with env.ends(to.other, "hand-over") as ends:
        epoch = next_epoch(closing.epoch, opening.epoch)
        if todo is Resume.COMPLETE:
            env.say("an earlier hand-over was cut off after the old owner was closed; completing it")
            return _complete(env, ends, to, epoch)
        return _attempt(env, ends, to, epoch)


def _attempt(env: Surroundings, ends: Ends, to: Side, epoch: int) -> HandOver:
    _shorten_tail(env, ends)
    sequences = _paired_sequences(env, ends, to)
    deadline = time.monotonic() + settings().CUTOVER_BUDGET_SECONDS
    attempts = 0
    with connect(env.alias(to.other), "hand-over fence") as fence, _writes_held(env, to) as proxies:
        began = time.monotonic()
        while True:
            attempts += 1
            try:
                drained, position = _close(env, ends, fence, to, epoch, sequences)
                break
            except (errors.LockNotAvailable, errors.DeadlockDetected):
                who = advisory.holder(ends.sender, LockClass.FENCE, env.context)
                if time.monotonic() > deadline:
                    raise FenceBusy(
                        f"writers of {env.context!r} did not pause within {settings().CUTOVER_BUDGET_SECONDS:g} s; "
                        f"in the way is {who}; "
                        "nothing was changed. End it or wait, then run the same command again"
                    ) from None
                env.say(f"attempt {attempts}: {who or 'a writer'} is in the way; stepping back")
                env.wait(min(0.02 * 2 ** min(attempts, 5), 0.5))
        points.reached("handover.closed")
        _await_events(env, ends, to, position, epoch)
        _open(env, ends, to, epoch)
        publish_owner(env, to)
    return HandOver(
        epoch=epoch,
        drained_events=drained,
        attempts=attempts,
        pause_ms=round((time.monotonic() - began) * 1000, 1),
        position=position,
        proxies=proxies,
    )


def _close(
    env: Surroundings, ends: Ends, fence: Connection, to: Side, epoch: int, sequences: list[PairedColumns]
) -> tuple[int, int]:
    """Behind the exclusive lock: number and apply the rest, move sequences, close the old owner in the same commit.

    The consumer is stopped before writers are, so that they never wait for the end of its batch.
    """
    with gate(ends), transaction(fence, lock_timeout_seconds=settings().LOCK_TIMEOUT_SECONDS):
        advisory.take(fence, LockClass.FENCE, env.context)
        points.reached("handover.locked")
        with stopped_at_tick(ends) as stop:
            points.reached("handover.drained")
            _advance_sequences(sequences, ends, to)
        set_owner(fence, env.context, to, epoch)
        points.reached("handover.before_close")
    return stop.drained, stop.position


def _complete(env: Surroundings, ends: Ends, to: Side, epoch: int) -> HandOver:
    """Go on where a crash left nobody writing; both fences get a new epoch, whichever way it goes on."""
    with _writes_held(env, to) as proxies:
        with stopped_at_tick(ends) as stop:
            _advance_sequences(_paired_sequences(env, ends, to), ends, to)
        _await_events(env, ends, to, stop.position, epoch)
        _open(env, ends, to, epoch)
        publish_owner(env, to)
    return HandOver(
        epoch=epoch,
        drained_events=stop.drained,
        attempts=1,
        pause_ms=0.0,
        position=stop.position,
        proxies=proxies,
    )


def _open(env: Surroundings, ends: Ends, to: Side, epoch: int) -> None:
    set_owner(ends.sender, env.context, to, epoch)
    set_owner(ends.receiver, env.context, to, epoch)
    points.reached("handover.opened")


def _await_events(env: Surroundings, ends: Ends, to: Side, position: int, epoch: int) -> None:
    """Wait until the new owner's own consumer has handled every event of the old one; else open the old one again."""
    deadline = time.monotonic() + EVENTS_SECONDS
    while positions(ends.receiver, env.context)[0] < position:
        if time.monotonic() > deadline:
            set_owner(ends.sender, env.context, to.other, epoch + 1)
            set_owner(ends.receiver, env.context, to.other, epoch + 1)
            raise StrangleError(
                f"the {to.value}'s consumer did not handle the last events of {env.context!r} within "
                f"{EVENTS_SECONDS:g} s; the "
                f"{to.other.value} owns it as before. Start strangle_consume {env.context} there, then run the same "
                f"command again"
            )
        env.stop.wait(0.003)


def _shorten_tail(env: Surroundings, ends: Ends) -> None:
    """Apply and have handled all but a few records, so that the pause is short."""
    deadline = time.monotonic() + settings().CUTOVER_BUDGET_SECONDS
    while True:
        drained = pre_drain(ends)
        waiting = _not_handled(env, ends)
        if drained <= SMALL_TAIL and waiting <= SMALL_TAIL:
            return
        if time.monotonic() > deadline:
            raise FenceBusy(
                f"the tail of {env.context!r} did not become small within {settings().CUTOVER_BUDGET_SECONDS:g} s (a "
                f"consumer is "
                f"{waiting} records behind): writes come faster than they are applied; nothing was changed. Try when "
                f"it is quieter"
            )
        env.wait(0.02)


def _not_handled(env: Surroundings, ends: Ends) -> int:
    """How far the new owner's consumer is behind, by its own inbox; 0 when nobody was heard of it lately.

    Not by its receipts: a consumer that listens to a broker sends one a second, and would seem to be a second behind.
    """
    alive = settings().CONSUMER_ALIVE_SECONDS
    if all(each.silent_seconds >= alive for each in lags.consumers(ends.sender, env.context)):
        return 0
    return max(head(ends.sender.cursor(), env.context) - positions(ends.receiver, env.context)[0], 0)


def _paired_sequences(env: Surroundings, ends: Ends, to: Side) -> list[PairedColumns]:
    """Columns of both sides that hold the same values and are each fed by a sequence; found before anybody waits."""
    return [
        pair
        for pair in paired_columns(env.playbook)
        if read_sequence(ends.receiver, *pair.on(to)) and read_sequence(ends.sender, *pair.on(to.other))
    ]


def _advance_sequences(pairs: list[PairedColumns], ends: Ends, to: Side) -> None:
    """Let the new owner draw values above everything the old one has drawn, whatever became of it; a gap is harmless.

    Parts of composite keys and columns beside the key are moved alike: any of them may have to be unique.
    """
    for pair in pairs:
        theirs = read_sequence(ends.sender, *pair.on(to.other))
        ours = read_sequence(ends.receiver, *pair.on(to))
        if theirs is None or ours is None:
            continue
        value = key_to_draw_from(ours[1], theirs[1], SEQUENCE_MARGIN)
        if value is not None:
            ends.receiver.execute("SELECT setval(%s::regclass, %s)", [ours[0], value])


@contextmanager
def _writes_held(env: Surroundings, to: Side) -> Iterator[int]:
    """Hold writes at every live proxy for the block; on failure send them to the owner the fences name.

    Raises:
        RoutingError: a proxy is silent, or does not confirm the hold.
    """
    silent = publishing.silent_proxies()
    if silent and env.context in publishing.current().contexts:
        raise RoutingError("; ".join(silent))
    proxies = len(publishing.live_proxies())
    try:
        if proxies and env.context in publishing.current().contexts:
            table = publishing.set_writes(env.context, "hold", author="strangle", reason=f"hand-over to {to.value}")
            publishing.wait_applied(table.version, CONFIRM_SECONDS)
            points.reached("handover.held")
            _end_streams(env, to)
        yield proxies
    except BaseException:
        owner = env.owner(Side.SOURCE)
        publish_owner(env, owner.owner if owner is not None else to.other, confirm=False)
        raise


def _end_streams(env: Surroundings, to: Side) -> None:
    """End the closing side's sockets while writes are held: clients that come back wait, and land on the new owner."""
    side: Routed = "new" if to is Side.SOURCE else "old"
    seconds = env.options.get("drain_seconds") or 0.0
    if seconds:
        done = streams.drain(
            env.context, side, seconds=seconds, author="strangle", reason=f"hand-over to {to.value}", wait=env.wait
        )
        env.say(f"{done.streams_before} streams of the {to.other.value} ended, {done.streams_left} are left")
    elif found := streams.count(env.context, side):
        env.say(
            f"{found} streams stay open on the {to.other.value}; its fence refuses what they write. End them with "
            f"strangle_route drain {env.context}"
        )


def publish_owner(env: Surroundings, owner: Side, *, confirm: bool = True) -> None:
    """Route writes to the owner and, with `confirm`, wait until every live proxy does."""
    if env.context not in publishing.current().contexts:
        return
    table = publishing.set_writes(
        env.context,
        "new" if owner is Side.TARGET else "old",
        author="strangle",
        reason=f"{owner.value} owns it",
    )
    if not capabilities(settings().DATA_PLANE).confirms:
        env.say(
            f"put routing version {table.version} in force now (strangle_route render): until then the fence of the "
            f"{owner.other.value} answers writes with 503 and Retry-After"
        )
    if confirm and publishing.live_proxies():
        publishing.wait_applied(table.version, CONFIRM_SECONDS)
