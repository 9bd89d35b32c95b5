"""Pieces that other processes copy, as rows of the receiver: given, taken by one at a time, fenced, done.

Note [a lease is taken by one]. Brokers deliver twice, and late. A task therefore begins by locking its lease's row for
its whole transaction, SKIP LOCKED: who comes second finds it locked, done or of a later epoch, and goes. `done` commits
with the rows. Whether the holder lives is seen by its session, which carries the lease's name: once it is gone, and the
lease is not done, nobody has it, and it is given again at once, without waiting for the broker to notice. Who takes too
long has its session ended by the server, so that it cannot write any more.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from migration_tools.capture.relations import read_relations
from migration_tools.errors import PositionMoved, StrangleError, TransferError
from migration_tools.kernel import points
from migration_tools.stores.postgres import Connection, connect, describe_failure, errors, transaction
from migration_tools.stores.postgres.copying import Piped
from migration_tools.transfer.pieces import Outcome, Piece, copy_piece
from migration_tools.transfer.ranges import KeyRange

POLL_SECONDS = 0.01
TAKE_SECONDS = 5.0
FINISH_SECONDS = 60.0
TIMES = 3


@dataclass(frozen=True, kw_only=True)
class Errand:
    """What a task is told, as JSON values; the rest it reads in the lease."""

    sender: str
    receiver: str
    stream: str
    lease: int
    epoch: int

    @property
    def purpose(self) -> str:
        """The name of the sessions that do it."""
        return f"lease {self.lease}.{self.epoch}"


def carry_out(errand: Errand) -> bool:
    """Copy the lease's piece in this process; False when it is another's, done or over.

    Raises:
        StrangleError: the piece could not be copied; its lease says so.
    """
    with connect(errand.sender, errand.purpose) as reader, connect(errand.receiver, errand.purpose) as receiver:
        try:
            with transaction(receiver):
                piece = _take(reader, receiver, errand)
                if piece is None:
                    return False
                outcome = copy_piece(reader, receiver, piece)
                _finish(receiver, errand, outcome)
        except PositionMoved:
            return False
        except (StrangleError, errors.Error) as error:
            if receiver.closed:
                return False
            receiver.execute(
                "UPDATE strangle_copy_lease SET failure = %s WHERE id = %s AND epoch = %s",
                [describe_failure(error), errand.lease, errand.epoch],
            )
            raise TransferError(f"a piece of {errand.stream!r} failed: {describe_failure(error)}") from error
    points.reached("lease.done")
    return True


def _take(reader: Connection, receiver: Connection, errand: Errand) -> Piece | None:
    row = receiver.execute(
        """SELECT projection, after, upto, position, snapshot FROM strangle_copy_lease
           WHERE id = %s AND epoch = %s AND NOT done FOR UPDATE SKIP LOCKED""",
        [errand.lease, errand.epoch],
    ).fetchone()
    if row is None:
        return None
    relations = (each for each in read_relations(reader, errand.stream) if each.kind == "r")
    return Piece(
        stream=errand.stream,
        relation=next(each for each in relations if each.projection == row[0]),
        keys=KeyRange(after=_bound(row[1]), upto=_bound(row[2])),
        position=int(row[3]),
        snapshot=row[4],
    )


def _bound(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _finish(receiver: Connection, errand: Errand, outcome: Outcome) -> None:
    piped = outcome.piped
    receiver.execute(
        "UPDATE strangle_copy_lease SET done = true, rows = %s, bytes = %s WHERE id = %s",
        [piped.rows if piped else None, piped.bytes if piped else 0, errand.lease],
    )


class Leases:
    """The Crew of other processes: `send` publishes an errand to whoever listens.

    Where nobody takes a piece within TAKE_SECONDS the caller copies it, and asks nobody for a while.
    """

    def __init__(
        self, sender: str, receiver: Connection, receiver_alias: str, count: int, send: Callable[[Errand], None]
    ) -> None:
        self._sender, self._receiver, self._alias = sender, receiver, receiver_alias
        self._count, self._send = count, send
        self._absent_until = 0.0

    @property
    def size(self) -> int:
        """See Crew; nobody, for a while, when nobody answered."""
        return self._count if time.monotonic() >= self._absent_until else 0

    def begin(self, pieces: Sequence[Piece]) -> "LeasedWork":
        """See Crew."""
        self._receiver.execute("DELETE FROM strangle_copy_lease WHERE stream = %s", [pieces[0].stream])
        return LeasedWork(self, [self._give(piece) for piece in pieces])

    def nobody_answers(self) -> None:
        """Let the caller work alone for a while."""
        self._absent_until = time.monotonic() + 6 * TAKE_SECONDS

    def _give(self, piece: Piece) -> "Given":
        row = self._receiver.execute(
            """INSERT INTO strangle_copy_lease (stream, epoch, projection, after, upto, position, snapshot, done, bytes,
                   failure) VALUES (%s, 1, %s, %s, %s, %s, %s, false, 0, '') RETURNING id""",
            [
                piece.stream,
                piece.relation.projection,
                list(piece.keys.after) if piece.keys.after else None,
                list(piece.keys.upto) if piece.keys.upto else None,
                piece.position,
                piece.snapshot,
            ],
        ).fetchone()
        errand = Errand(
            sender=self._sender,
            receiver=self._alias,
            stream=piece.stream,
            lease=int(row[0]) if row else 0,
            epoch=1,
        )
        given = Given(errand=errand, keys=piece.keys, at=time.monotonic())
        self._send(errand)
        return given

    def look(self, given: "Given") -> Outcome | None:
        """What became of the piece; None while it is under way. Gives it again when its holder is gone."""
        row = self._receiver.execute(
            """SELECT done, rows, bytes, failure, EXISTS (SELECT FROM pg_stat_activity WHERE application_name = %s)
               FROM strangle_copy_lease WHERE id = %s""",
            [f"strangle:{given.errand.purpose}", given.errand.lease],
        ).fetchone()
        if row is None or row[3]:
            stream, why = given.errand.stream, row[3] if row else "its lease is gone"
            raise TransferError(
                f"a worker could not copy its piece of {stream!r}: {why}; mend that, then run strangle_backfill "
                f"{stream} again"
            )
        done, rows, size, _, held = row
        if done:
            return Outcome(keys=given.keys, piped=Piped(rows=rows, bytes=size) if rows is not None else None)
        waited = time.monotonic() - given.at
        if held:
            given.taken = True
            if waited < FINISH_SECONDS:
                return None
        elif given.taken and given.times < TIMES:
            given.taken, given.at, given.times = False, time.monotonic(), given.times + 1
            self._send(given.errand)
            return None
        elif not given.taken:
            if waited < TAKE_SECONDS:
                return None
            self.nobody_answers()
        return self._fence(given)

    def _fence(self, given: "Given") -> Outcome | None:
        """Take the lease back, its holder's session ended; the caller copies the piece, unless it is just done."""
        self._receiver.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s",
            [f"strangle:{given.errand.purpose}"],
        )
        try:
            with transaction(self._receiver, lock_timeout_seconds=TAKE_SECONDS):
                taken_back = self._receiver.execute(
                    "UPDATE strangle_copy_lease SET epoch = epoch + 1 WHERE id = %s AND NOT done", [given.errand.lease]
                ).rowcount
        except errors.LockNotAvailable:
            return None  # taken at the last moment
        return Outcome(keys=given.keys, piped=None) if taken_back else None


@dataclass(kw_only=True)
class Given:
    """A lease that was given: since when, how many times, and whether a session was seen at it since."""

    errand: Errand
    keys: KeyRange
    at: float
    taken: bool = False
    times: int = 1


class LeasedWork:
    """Pieces under way elsewhere."""

    def __init__(self, leases: Leases, given: list[Given]) -> None:
        self._leases, self._given = leases, given

    def wait(self) -> list[Outcome]:
        """See Work."""
        outcomes: list[Outcome] = []
        never = threading.Event()
        for given in self._given:
            while (outcome := self._leases.look(given)) is None:
                never.wait(POLL_SECONDS)
            outcomes.append(outcome)
        return outcomes
