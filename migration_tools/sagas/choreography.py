"""A saga without a conductor: each service reacts to events of others, and says beforehand what it will publish.

What a reaction may publish is declared, not discovered: `emits` when it is done, `fails` when the business refuses. So
the whole flow can be drawn and checked (see sagas.flow), and a service that is stopped holds the saga up where it is,
which is all that anybody sees of it: nobody else waits with a clock.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connections, transaction

from migration_tools.conf import settings
from migration_tools.errors import SagaError
from migration_tools.kernel import points
from migration_tools.messaging import outbox
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import handles
from migration_tools.sagas import participant
from migration_tools.sagas.admission import Course, Stored, course_of_doing, course_of_undoing
from migration_tools.sagas.decisions import Direction
from migration_tools.sagas.definition import Rejected, pick
from migration_tools.sagas.guard import only_database
from migration_tools.sagas.participant import Command, CommandFunction


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """A function with the event that it takes and the events that follow; without `takes` it begins the saga."""

    saga: str
    step: str
    direction: Direction
    takes: str = ""
    stream: str = ""
    emits: str = ""
    fails: str = ""
    publishes_on: str = ""
    nothing_left: bool = False
    function: CommandFunction | None = None


_reactions: dict[tuple[str, str, str, str], Reaction] = {}


def originates(event_type: str, *, saga: str, step: str, stream: str, nothing_left: bool = False) -> Reaction:
    """Declare the event with which a saga begins, published by `originate`."""
    return _known(
        Reaction(
            saga=saga,
            step=step,
            direction=Direction.DO,
            emits=event_type,
            publishes_on=stream,
            nothing_left=nothing_left,
        )
    )


def originate(
    origin: Reaction, *, saga_id: uuid.UUID, payload: Mapping[str, Any], aggregate_type: str, using: str | None = None
) -> None:
    """Begin a saga in the transaction that makes it necessary: keep its first step as done, publish its event.

    Call inside `atomic()`; a repetition with the same id does nothing.
    """
    alias = using or settings().DATABASE
    before, _, _ = participant.claim(alias, str(saga_id), origin.step, Direction.DO, Stored.DONE)
    if before is None:
        outbox.publish(
            origin.emits,
            aggregate_type=aggregate_type,
            aggregate_id=saga_id,
            payload=payload,
            stream=origin.publishes_on,
            using=alias,
        )


def reacts(
    event_type: str,
    *,
    stream: str,
    saga: str,
    publishes_on: str,
    step: str = "",
    undoes: str = "",
    emits: str = "",
    fails: str = "",
    nothing_left: bool = False,
    group: str = "",
) -> Callable[[CommandFunction], CommandFunction]:
    """React to an event of a saga: do `step`, or undo the step `undoes`; once a saga, in the consumer's transaction.

    The saga's id is the event's aggregate id. When it is done `emits` is published, with the event's payload and what
    the function returns; when the function raises Rejected `fails` is, with the reason. A step is undone only if it was
    done here, and `emits` is published either way, so that the way back goes on. `nothing_left` says of a step that it
    leaves nothing to undo.

    Raises:
        SagaError: the declaration says neither or both of step and undoes, or lets an undoing fail.
    """
    if bool(step) == bool(undoes):
        raise SagaError(f"the reaction to {event_type!r} must have either step= or undoes=")
    if undoes and fails:
        raise SagaError(f"the reaction to {event_type!r} undoes {undoes!r}; that is not refused, leave fails= out")

    def register(function: CommandFunction) -> CommandFunction:
        reaction = _known(
            Reaction(
                saga=saga,
                step=step or undoes,
                direction=Direction.DO if step else Direction.UNDO,
                takes=event_type,
                stream=stream,
                emits=emits,
                fails=fails,
                publishes_on=publishes_on,
                nothing_left=nothing_left,
                function=function,
            )
        )

        def take(event: Envelope) -> None:
            _react(reaction, function, event)

        take.__module__, take.__qualname__ = function.__module__, function.__qualname__
        handles(event_type, stream=stream, group=group)(take)
        return function

    return register


def reactions() -> list[Reaction]:
    """Every reaction of this process."""
    return [_reactions[key] for key in sorted(_reactions)]


def _known(reaction: Reaction) -> Reaction:
    _reactions[reaction.saga, reaction.step, reaction.direction.value, reaction.takes] = reaction
    return reaction


def _react(reaction: Reaction, function: CommandFunction, event: Envelope) -> None:
    using = settings().DATABASE
    command = Command(
        saga_id=event.aggregate_id, saga=reaction.saga, step=reaction.step, data=event.payload, using=using
    )
    follow = _do if reaction.direction is Direction.DO else _undo
    said = follow(reaction, function, command)
    points.reached("sagas.reacted")
    if said is None:
        return
    event_type, facts = said
    if event_type:
        outbox.publish(
            event_type,
            aggregate_type=event.aggregate_type,
            aggregate_id=event.aggregate_id,
            payload={**pick(event.payload, None), **facts},
            stream=reaction.publishes_on,
            using=using,
        )
    points.reached("sagas.reaction_published")


def _do(reaction: Reaction, function: CommandFunction, command: Command) -> tuple[str, Mapping[str, Any]] | None:
    before, _, _ = participant.claim(command.using, command.saga_id, command.step, Direction.DO, Stored.DONE)
    if course_of_doing(before) is Course.ANSWER:
        return None  # what followed was published in the transaction that did it
    try:
        result = _called(reaction, function, command)
    except Rejected as refusal:
        if not reaction.fails:
            raise
        participant.keep(
            command.using, command.saga_id, command.step, Direction.DO, Stored.REJECTED, refusal.reason, {}
        )
        return reaction.fails, {"reason": refusal.reason}
    participant.keep(command.using, command.saga_id, command.step, Direction.DO, Stored.DONE, "", result)
    return reaction.emits, result


def _undo(reaction: Reaction, function: CommandFunction, command: Command) -> tuple[str, Mapping[str, Any]] | None:
    doing, _, result = participant.claim(command.using, command.saga_id, command.step, Direction.DO, Stored.VOID)
    before, _, _ = participant.claim(command.using, command.saga_id, command.step, Direction.UNDO, Stored.DONE)
    course = course_of_undoing(doing, before)
    if course is Course.ANSWER:
        return None
    if course is Course.RUN:
        _called(reaction, function, Command(**{**vars(command), "result": result}))
    return reaction.emits, {}


def _called(reaction: Reaction, function: CommandFunction, command: Command) -> Mapping[str, Any]:
    """Call the function; a failure is the consumer's: it tries again, then parks the saga's events behind this one."""
    if not connections[command.using].in_atomic_block:
        raise SagaError(f"the reaction to {reaction.takes!r} runs outside a transaction; call it by its consumer")
    with transaction.atomic(using=command.using), only_database(f"reaction to {reaction.takes!r}"):
        return dict(function(command) or {})
