"""Take part in a saga: a function per command, run once however often the command comes, its result kept and told."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, LiteralString

from django.db import connections, transaction

from migration_tools.conf import settings
from migration_tools.errors import StoreAway
from migration_tools.kernel import points
from migration_tools.kernel.ownership import FENCED_SQLSTATE
from migration_tools.messaging import outbox
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import handles
from migration_tools.sagas.admission import Course, Stored, answered, course_of_doing, course_of_undoing
from migration_tools.sagas.decisions import Direction, Outcome
from migration_tools.sagas.definition import Rejected, answer_type
from migration_tools.sagas.guard import only_database

log = logging.getLogger(__name__)

CommandFunction = Callable[["Command"], Mapping[str, Any] | None]


_CLAIM: LiteralString = """INSERT INTO saga_step (saga_id, step, direction, outcome, result)
    VALUES (%(saga_id)s, %(step)s, %(direction)s, %(outcome)s, '{}') ON CONFLICT DO NOTHING"""
_FIND: LiteralString = """SELECT outcome, reason, result::text FROM saga_step
    WHERE saga_id = %(saga_id)s AND step = %(step)s AND direction = %(direction)s"""
_KEEP: LiteralString = """UPDATE saga_step SET outcome = %(outcome)s, reason = %(reason)s, result = %(result)s
    WHERE saga_id = %(saga_id)s AND step = %(step)s AND direction = %(direction)s"""
_RELEASE: LiteralString = """DELETE FROM saga_step
    WHERE saga_id = %(saga_id)s AND step = %(step)s AND direction = %(direction)s"""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What a participant's function is given; `result` is what doing the step gave, for who undoes it."""

    saga_id: str
    saga: str
    step: str
    data: Mapping[str, Any]
    using: str
    result: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Participant:
    """A function with the command that it takes; kept for the graph and the checks."""

    command: str
    direction: Direction
    stream: str
    replies: str
    function: CommandFunction


_participants: dict[tuple[str, str], Participant] = {}


def performs(
    command: str, *, stream: str, replies: str, group: str = ""
) -> Callable[[CommandFunction], CommandFunction]:
    """Do a step when its command comes on `stream`, and answer on this service's own stream `replies`.

    The function runs inside the consumer's transaction, once per saga and step; it returns what the saga may want to
    know, or raises Rejected. Whatever else it raises is a failure, which leaves nothing behind and is answered as one.
    """
    return _registering(command, Direction.DO, stream, replies, group)


def compensates(
    command: str, *, stream: str, replies: str, group: str = ""
) -> Callable[[CommandFunction], CommandFunction]:
    """Undo a step when that command comes; runs only if the step was done here, and may not refuse."""
    return _registering(command, Direction.UNDO, stream, replies, group)


def participants() -> list[Participant]:
    """Every participant's function of this process."""
    return [_participants[key] for key in sorted(_participants)]


def _registering(
    command: str, direction: Direction, stream: str, replies: str, group: str
) -> Callable[[CommandFunction], CommandFunction]:
    def register(function: CommandFunction) -> CommandFunction:
        part = Participant(command=command, direction=direction, stream=stream, replies=replies, function=function)
        _participants[stream, command] = part

        def take(event: Envelope) -> None:
            obey(part, event)

        take.__module__, take.__qualname__ = function.__module__, function.__qualname__
        handles(command, stream=stream, group=group)(take)
        return function

    return register


def obey(part: Participant, event: Envelope) -> None:
    """Carry a command out once and answer it, in the running transaction; see Note [keys of a step]."""
    using = settings().DATABASE
    said = event.payload
    saga_id, step = str(said["saga_id"]), str(said["step"])
    command = Command(saga_id=saga_id, saga=str(said["saga"]), step=step, data=said["data"], using=using)
    if part.direction is Direction.DO:
        outcome, reason, result = _do(part, command, may_refuse=bool(said["may_refuse"]))
    else:
        outcome, reason, result = _undo(part, command)
    outbox.publish(
        answer_type(part.command),
        aggregate_type=event.aggregate_type,
        aggregate_id=saga_id,
        payload={
            "saga_id": saga_id,
            "step": step,
            "direction": part.direction.value,
            "attempt": said["attempt"],
            "outcome": outcome.value,
            "reason": reason,
            "data": dict(result),
        },
        stream=part.replies,
        using=using,
    )
    points.reached("sagas.answer_written")


Word = tuple[Outcome, str, Mapping[str, Any]]


def _do(part: Participant, command: Command, *, may_refuse: bool) -> Word:
    before, reason, result = claim(command.using, command.saga_id, command.step, Direction.DO, Stored.DONE)
    points.reached("sagas.claimed")
    if course_of_doing(before) is Course.ANSWER:
        assert before is not None  # noqa: S101
        return answered(before), reason or ("it was undone before" if before is Stored.VOID else ""), result
    return _run(part, command, Direction.DO, may_refuse=may_refuse)


def _undo(part: Participant, command: Command) -> Word:
    doing, _, result = claim(command.using, command.saga_id, command.step, Direction.DO, Stored.VOID)
    before, _, _ = claim(command.using, command.saga_id, command.step, Direction.UNDO, Stored.DONE)
    points.reached("sagas.claimed")
    if course_of_undoing(doing, before) is not Course.RUN:
        return Outcome.DONE, "", {}
    return _run(part, Command(**{**vars(command), "result": result}), Direction.UNDO, may_refuse=False)


def _run(part: Participant, command: Command, direction: Direction, *, may_refuse: bool) -> Word:
    key = (command.using, command.saga_id, command.step, direction)
    try:
        with transaction.atomic(using=command.using), only_database(f"step {command.step!r} ({part.command})"):
            result = dict(part.function(command) or {})
        points.reached("sagas.effect_written")
    except Rejected as refusal:
        if may_refuse:
            keep(*key, Stored.REJECTED, refusal.reason, {})
            return Outcome.REJECTED, refusal.reason, {}
        reason = refusal.reason
    except Exception as error:
        if says_nothing_of_the_step(error):
            raise
        log.exception("saga %s: step %r failed (%s)", command.saga_id, command.step, part.command)
        reason = type(error).__name__
    else:
        keep(*key, Stored.DONE, "", result)
        return Outcome.DONE, "", result
    release(*key)
    return Outcome.FAILED, reason, {}


def says_nothing_of_the_step(error: Exception) -> bool:
    """Whether the machine failed, not the step: the transaction is for whoever opened it to try again.

    So is a store of the service's own that does not answer. A fence is not the machine: the context belongs to the
    other side for as long as it does, and nobody must wait.
    """
    # Here, because a project whose driver is psycopg2 may import this module too.
    from migration_tools.stores.postgres import is_transient

    fenced = getattr(error.__cause__ or error, "sqlstate", None) == FENCED_SQLSTATE
    return isinstance(error, StoreAway) or (is_transient(error) and not fenced)


def claim(
    using: str, saga_id: str, step: str, direction: Direction, outcome: Stored
) -> tuple[Stored | None, str, Mapping[str, Any]]:
    """Insert the row of a step; what it said before, None if it was not there. Waits for whoever inserts the same."""
    with connections[using].cursor() as cursor:
        cursor.execute(_CLAIM, {**_key(saga_id, step, direction), "outcome": outcome.value})
        if cursor.rowcount:
            return None, "", {}
        cursor.execute(_FIND, _key(saga_id, step, direction))
        row = cursor.fetchone()
    return Stored(row[0]), row[1], json.loads(row[2])


def release(using: str, saga_id: str, step: str, direction: Direction) -> None:
    """Take back a claim of this transaction: nothing was done."""
    with connections[using].cursor() as cursor:
        cursor.execute(_RELEASE, _key(saga_id, step, direction))


def keep(
    using: str, saga_id: str, step: str, direction: Direction, outcome: Stored, reason: str, result: Mapping[str, Any]
) -> None:
    """Store what became of a claim of this transaction."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            _KEEP,
            {
                "outcome": outcome.value,
                "reason": reason[:500],
                "result": json.dumps(result),
                **_key(saga_id, step, direction),
            },
        )


def _key(saga_id: str, step: str, direction: Direction) -> dict[str, str]:
    return {"saga_id": saga_id, "step": step, "direction": direction.value}
