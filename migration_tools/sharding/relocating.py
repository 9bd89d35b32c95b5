"""Move one key from a region's store to another's, with its owner's consent: the steps of a saga, each idempotent.

Note [a key between two regions]. `move` gives a bucket to another shard of its region; rows of a region never leave it.
A customer who moves house may take their rows along, if they wish. `close` lets nobody read or write the key, after
whoever does so now. `copy` brings the rows to the new store, unseen. `verify` compares both. From `switch` on there is
no way back: the old store hides its rows, the new one shows its own, the directory says so. `erase` removes what is
hidden. Until `switch`, `discard` and `reopen` undo. The steps are local transactions on two stores; each asks first,
behind the key's row there, how far this relocation is. So it may come twice, late, or after its undoing, and whoever
was killed is followed by whoever comes next. A key that is closed is served by nobody, and `at_shard` waits.
The rows go from store to store: no message and no saga's payload holds any.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from migration_tools.errors import ShardingError
from migration_tools.kernel import points
from migration_tools.sharding import homes, keys
from migration_tools.sharding.declaration import Sharding, sharding
from migration_tools.sharding.key_rows import (
    copy_key,
    delete_key,
    digest_key,
    refuse_unowned,
    relabel_key,
    unseen,
)
from migration_tools.sharding.mapping import Bucket, Strategy
from migration_tools.sharding.maps import read_map
from migration_tools.sharding.rows import moving
from migration_tools.stores.postgres import Connection, connect, errors


class CannotRelocate(ShardingError):
    """A final no: trying again would not help. `code` is short and may be shown."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        super().__init__(text)


@dataclass(frozen=True, kw_only=True)
class Relocation:
    """Which key moves, from and to which region, under which saga and by whose word."""

    id: str
    map: str
    key: str
    source: str
    target: str
    consent: str


@dataclass(frozen=True, kw_only=True)
class _Side:
    bucket: Bucket
    conn: Connection


def close(asked: Relocation) -> None:
    """Let nobody write or read the key in its region.

    Raises:
        CannotRelocate: no consent, one region, or the key is not served there.
        ShardingError: its bucket, or the key by another relocation, is moving now.
        FenceBusy: the key is written by a long transaction; nothing was changed.
    """
    if not asked.consent.strip():
        raise CannotRelocate("no_consent", "say where the owner's consent is kept; without it the rows stay")
    if asked.source == asked.target:
        raise CannotRelocate("same_region", f"the key is to move from {asked.source!r} to {asked.target!r}")
    refuse_unowned(sharding(asked.map))
    before, settled = homes.standing(asked.map, asked.key)
    if before != asked.id and not settled:
        raise ShardingError(f"the key is being moved by relocation {before}; try again after it")
    with _side(asked, asked.source) as source:
        number = source.bucket.number
        with keys.still(source.conn, asked.map, number, asked.key):
            state, whose = _state(source, asked)
            if whose == asked.id:
                if state == "closed":
                    return
                raise CannotRelocate("ended", f"relocation {asked.id} was undone, or is further on ({state})")
            if state == "gone":
                raise CannotRelocate("not_here", f"the key is not in region {asked.source!r}")
            if state in keys.UNDER_WAY:
                raise ShardingError(f"the key is being moved by relocation {whose}; try again after it")
            _put(source, asked, "closed")
    points.reached("sharding.key_closed")


def copy(asked: Relocation) -> int:
    """Bring the rows to the new region, unseen; returns how many.

    Raises:
        CannotRelocate: rows of the same keys are there already.
        ShardingError: the key is not closed by this relocation, or was discarded.
    """
    with _both(asked) as (declared, source, target):
        number = target.bucket.number
        with moving(source.conn), keys.still(target.conn, asked.map, number, asked.key):
            _expect(source, asked, "closed")
            state, whose = _state(target, asked)
            if state == "gone" and whose == asked.id:
                raise CannotRelocate("ended", f"relocation {asked.id} was undone")
            if state in keys.UNDER_WAY and whose != asked.id:
                raise ShardingError(f"region {asked.target!r} still erases the key for relocation {whose}")
            _put(target, asked, "arriving")
            target.conn.execute("SELECT set_config('strangle.moving_bucket', 'on', true)")
            seen = source.bucket.number
            try:
                rows = copy_key(source.conn, target.conn, declared, asked.key, seen=seen, as_=unseen(number))
            except errors.UniqueViolation as error:
                table = error.diag.table_name
                raise CannotRelocate("taken", f"region {asked.target!r} has rows of these keys in {table!r}") from None
    points.reached("sharding.key_copied")
    return rows


def verify(asked: Relocation) -> None:
    """Compare the rows of both stores, every column.

    Raises:
        CannotRelocate: they differ.
        ShardingError: the key is not closed, or not copied.
    """
    with _both(asked) as (declared, source, target), moving(source.conn), moving(target.conn):
        _expect(source, asked, "closed")
        _expect(target, asked, "arriving")
        old = digest_key(source.conn, declared, asked.key, source.bucket.number)
        new = digest_key(target.conn, declared, asked.key, unseen(target.bucket.number))
        different = [one[0] for one, other in zip(old, new, strict=True) if one != other]
        if different:
            raise CannotRelocate("differs", f"the copy in region {asked.target!r} differs in {different}")
    points.reached("sharding.key_verified")


def switch(asked: Relocation) -> None:
    """The point of no return: the old region hides the rows, the new one serves them, the directory says so.

    Raises:
        ShardingError: the key was not copied by this relocation, or that was undone.
    """
    with _both(asked) as (declared, source, target):
        with moving(source.conn):
            state = _expect(source, asked, "closed", "left", "gone")
        if state != "closed" and homes.standing(asked.map, asked.key) != (asked.id, False):
            return  # done before, and told to nobody
        homes.leave(asked.map, asked.key, region=asked.target, relocation=asked.id, consent=asked.consent)
        points.reached("sharding.key_leaves")
        with moving(source.conn):
            if _expect(source, asked, "closed", "left", "gone") == "closed":
                number = source.bucket.number
                relabel_key(source.conn, declared, asked.key, number, unseen(number))
                _put(source, asked, "left")
        points.reached("sharding.key_left")
        with moving(target.conn):
            if _expect(target, asked, "arriving", "open") == "arriving":
                number = target.bucket.number
                relabel_key(target.conn, declared, asked.key, unseen(number), number)
                _put(target, asked, "open")
        points.reached("sharding.key_opened")
    homes.settle(asked.map, asked.key, asked.id)
    points.reached("sharding.key_settled")


def erase(asked: Relocation) -> None:
    """Remove the hidden rows from the old region's store.

    Raises:
        ShardingError: the key has not left by this relocation.
    """
    with _side(asked, asked.source) as source, moving(source.conn):
        if _expect(source, asked, "left", "gone") == "left":
            delete_key(source.conn, sharding(asked.map), asked.key, unseen(source.bucket.number))
            _put(source, asked, "gone")
    points.reached("sharding.key_erased")


def discard(asked: Relocation) -> None:
    """Undo `copy`: remove the unseen rows; the new region is not the key's, which it says from now on."""
    with _side(asked, asked.target) as target, keys.still(target.conn, asked.map, target.bucket.number, asked.key):
        target.conn.execute("SELECT set_config('strangle.moving_bucket', 'on', true)")
        state, whose = _state(target, asked)
        if whose == asked.id and state == "open":
            raise ShardingError(f"relocation {asked.id} is past its point of no return")
        if whose == asked.id or state not in keys.UNDER_WAY:
            delete_key(target.conn, sharding(asked.map), asked.key, unseen(target.bucket.number))
            _put(target, asked, "gone")
    points.reached("sharding.key_discarded")


def reopen(asked: Relocation) -> None:
    """Undo `close`: the old region serves the key as before."""
    with _side(asked, asked.source) as source, moving(source.conn):
        if _state(source, asked) == ("closed", asked.id):
            _put(source, asked, "open")
    points.reached("sharding.key_reopened")


@contextmanager
def _side(asked: Relocation, region: str) -> Iterator[_Side]:
    current, declared = read_map(asked.map), sharding(asked.map)
    if current.strategy is not Strategy.GEOGRAPHY:
        raise CannotRelocate("no_regions", f"map {asked.map!r} is by {current.strategy}, not by geography")
    bucket = current.locate(asked.key, region)
    with connect(declared.shard(bucket.shard).alias, "shard") as conn:
        yield _Side(bucket=bucket, conn=conn)


@contextmanager
def _both(asked: Relocation) -> Iterator[tuple[Sharding, _Side, _Side]]:
    with ExitStack() as stack:
        source, target = (stack.enter_context(_side(asked, region)) for region in (asked.source, asked.target))
        yield sharding(asked.map), source, target


def _state(side: _Side, asked: Relocation) -> tuple[str, str]:
    return keys.state_of(side.conn, asked.map, side.bucket.number, asked.key)


def _put(side: _Side, asked: Relocation, state: str) -> None:
    keys.put(side.conn, asked.map, side.bucket.number, asked.key, state, asked.id)


def _expect(side: _Side, asked: Relocation, *states: str) -> str:
    state, whose = _state(side, asked)
    if state not in states or whose != asked.id:
        said: Sequence[Any] = (state, whose) if state else ("nothing",)
        raise ShardingError(
            f"relocation {asked.id} expects its key as {' or '.join(states)} in region {side.bucket.region!r}; "
            f"that store says {' by '.join(said)}"
        )
    return state
