"""Drive sagas: begin one, take answers, act when a wait is over; each transition and its message are one transaction.

Note [one saga at a time]. Every transition locks the saga's row first, decides by what it says then, and commits the
new state together with the next command's outbox row. A crash before that commit leaves nothing; after it the relay
publishes. Answers that come twice, late or in another order find a state that they say nothing new to.
"""

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.db import connections, transaction

from migration_tools.conf import settings
from migration_tools.errors import PastPivot, SagaError
from migration_tools.kernel import points
from migration_tools.kernel.ids import uuid7
from migration_tools.messaging import context, outbox
from migration_tools.messaging.context import Causality, caused_by
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import handles
from migration_tools.sagas import intake, ledger, registry
from migration_tools.sagas.decisions import (
    OPEN,
    Answer,
    Decision,
    Direction,
    Outcome,
    Status,
    begin,
    elapsed,
    heard,
    may_refuse,
    recalled,
    retried,
)
from migration_tools.sagas.definition import LocalFunction, LocalStep, Rejected, Saga, Step, answer_type, pick
from migration_tools.sagas.guard import only_database
from migration_tools.sagas.ledger import Instance
from migration_tools.sagas.participant import says_nothing_of_the_step

log = logging.getLogger(__name__)

AGGREGATE = "saga"


@dataclass(frozen=True, kw_only=True)
class Transition:
    """What a transition is made with: `starting` while the caller's transaction may still undo all of it."""

    saga: Saga
    using: str
    reason: str = ""
    starting: bool = False


def start(
    saga: Saga,
    payload: Mapping[str, Any],
    *,
    aggregate: tuple[str, object] = ("", ""),
    saga_id: uuid.UUID | None = None,
    using: str | None = None,
) -> str:
    """Begin a saga in the transaction that makes it necessary; returns its id.

    Call inside `atomic()`: the saga exists exactly if the transaction commits. Steps at the beginning that are done
    here are done at once. With a `saga_id` a repetition begins nothing. The payload must be JSON.

    Raises:
        SagaError: the definition has mistakes, or there is no open transaction.
        IntakeClosed: the context is being handed over; try again in a moment.
        Rejected: the business refuses one of the steps that are done here; roll back.
    """
    registry.refuse_mistaken(saga)
    alias = using or settings().DATABASE
    if not connections[alias].in_atomic_block:
        raise SagaError(f"saga {saga.name!r} started outside a transaction; wrap the change and it in atomic()")
    intake.enter(alias, saga.belongs_to)
    made = saga_id or uuid7()
    kind, key = aggregate
    chain = context.current()
    if not ledger.insert(alias, saga, made, (kind, str(key)), dict(payload), chain.correlation_id):
        return str(made)
    ledger.note(alias, str(made), "started")
    instance = ledger.lock(alias, str(made))
    assert instance is not None  # noqa: S101  (inserted above)
    with caused_by(replace(chain, causation_id=chain.causation_id)):
        _carry_out(Transition(saga=saga, using=alias, starting=True), instance, begin(saga))
    points.reached("sagas.started")
    return str(made)


def listen(saga: Saga) -> None:
    """Take the answers to the saga's commands, in this service's consumer of each stream that they come on."""
    for step in saga.steps:
        for command in filter(None, (step.command, step.compensation if step.undoable else "")):
            handles(answer_type(command), stream=step.replies, group=saga.group)(take_answer)


def take_answer(event: Envelope) -> None:
    """Handle an answer, in the consumer's transaction; one that is not ours, or says nothing new, changes nothing."""
    using = settings().DATABASE
    said = event.payload
    instance = ledger.lock(using, str(said["saga_id"]))
    if instance is None:
        return
    saga = registry.find(instance.saga, instance.version)
    answer = Answer(
        step=str(said["step"]),
        direction=Direction(said["direction"]),
        outcome=Outcome(said["outcome"]),
        attempt=int(said["attempt"]),
        reason=str(said.get("reason") or ""),
    )
    decision = heard(saga, instance.progress, answer) if _speaks_for(saga, answer, event) else None
    points.reached("sagas.answer_read")
    if decision is None:
        log.info("saga %s: %s of %r says nothing new", instance.saga_id, answer.outcome, answer.step)
        return
    if decision.done:
        kept = pick(said.get("data") or {}, saga.steps[instance.progress.step].keeps)
        instance = replace(instance, payload={**instance.payload, **kept})
    reason = "" if answer.outcome is Outcome.DONE else f"{answer.step}: {answer.reason}"
    _carry_out(Transition(saga=saga, using=using, reason=reason), instance, decision)
    points.reached("sagas.answer_taken")


def wake(saga_id: str, *, using: str | None = None) -> bool:
    """Act on a saga whose wait is over; False when there is nothing to do (any more). Opens its own transaction."""
    alias = using or settings().DATABASE
    with transaction.atomic(using=alias):
        instance = ledger.lock_if_due(alias, saga_id)
        if instance is None:
            return False
        saga = registry.find(instance.saga, instance.version)
        decision = elapsed(saga, instance.progress)
        if decision is None:
            return False
        step = saga.steps[instance.progress.step].name
        with caused_by(_chain(instance)):
            _carry_out(Transition(saga=saga, using=alias, reason=f"{step}: no answer in time"), instance, decision)
        points.reached("sagas.woken")
    points.reached("sagas.wake_committed")
    return True


def retry(saga_id: str, *, reason: str = "", using: str | None = None) -> Status:
    """An operator's wish: try the current step again at once. Opens its own transaction.

    Raises:
        SagaError: there is no such saga here, or it has ended.
    """
    return _wished(saga_id, "retried", reason, using)


def compensate(saga_id: str, *, reason: str, using: str | None = None) -> Status:
    """An operator's wish: turn back and undo what was done. Opens its own transaction.

    Raises:
        SagaError: there is no such saga here, or it has ended.
        PastPivot: it is past the point of no return, or may be.
    """
    return _wished(saga_id, "recalled", reason, using)


def _wished(saga_id: str, wish: str, reason: str, using: str | None) -> Status:
    alias = using or settings().DATABASE
    with transaction.atomic(using=alias):
        instance = ledger.lock(alias, saga_id)
        if instance is None:
            raise SagaError(f"this service orchestrates no saga {saga_id!r}; see strangle_sagas list")
        saga = registry.find(instance.saga, instance.version)
        if instance.progress.status not in OPEN:
            raise SagaError(f"saga {saga_id!r} is {instance.progress.status.value}; nothing was changed")
        decision = (retried if wish == "retried" else recalled)(saga, instance.progress)
        if decision is None:
            step = saga.steps[instance.progress.step].name
            raise PastPivot(
                f"saga {saga_id!r} cannot be undone at step {step!r}: it "
                + (
                    "is undone already"
                    if instance.progress.direction is Direction.UNDO
                    else "is past the pivot, or the pivot was asked for and may have been done"
                )
                + "; strangle_sagas retry tries the step again"
            )
        ledger.note(alias, saga_id, wish, reason=reason)
        points.reached("sagas.wish_noted")
        with caused_by(_chain(instance)):
            ended = _carry_out(Transition(saga=saga, using=alias, reason=reason), instance, decision)
    points.reached("sagas.wish_committed")
    return ended


def _carry_out(way: Transition, instance: Instance, decision: Decision) -> Status:
    """Store a decision and act on it; steps that are done here follow in the same transaction, one after the other."""
    while True:
        ledger.write(way.using, instance.saga_id, decision, payload=instance.payload, reason=way.reason)
        _note(way, instance, decision)
        points.reached("sagas.state_written")
        at = decision.progress
        if at.alarm and not instance.progress.alarm:
            log.error("saga %s (%s) needs somebody: %s", instance.saga_id, way.saga, at.alarm)
        instance = replace(instance, progress=at)
        if not decision.act:
            return at.status
        step = way.saga.steps[at.step]
        if not step.is_local:
            _send(way, instance, step)
            points.reached("sagas.command_written")
            return at.status
        answer, data = _do_here(way, instance, step)
        following = heard(way.saga, at, answer)
        assert following is not None  # noqa: S101  (the answer is to the current attempt)
        decision = following
        if decision.done:
            instance = replace(instance, payload={**instance.payload, **pick(data, step.keeps)})
        if answer.outcome is not Outcome.DONE:
            way = replace(way, reason=f"{step.name}: {answer.reason}")


def _do_here(way: Transition, instance: Instance, step: Step) -> tuple[Answer, Mapping[str, Any]]:
    """Run a step's own function in a savepoint: what it does commits with the transition, or not at all."""
    at = instance.progress
    function = step.local if at.direction is Direction.DO else step.undo
    assert callable(function)  # noqa: S101  (find_mistakes)
    outcome, reason, data = Outcome.DONE, "", {}
    try:
        data = _called(way, instance, step, function)
    except Rejected as refusal:
        if way.starting:
            raise
        outcome = Outcome.REJECTED if may_refuse(way.saga, at) else Outcome.FAILED
        reason = refusal.reason
    except Exception as error:
        if way.starting or says_nothing_of_the_step(error):
            raise
        outcome, reason = Outcome.FAILED, type(error).__name__
        log.exception("saga %s: step %r failed here", instance.saga_id, step.name)
    points.reached("sagas.done_here")
    answer = Answer(step=step.name, direction=at.direction, outcome=outcome, attempt=at.attempt, reason=reason)
    return answer, data


def _called(way: Transition, instance: Instance, step: Step, function: LocalFunction) -> dict[str, Any]:
    given = LocalStep(
        saga_id=instance.saga_id, saga=way.saga.name, step=step.name, payload=instance.payload, using=way.using
    )
    with transaction.atomic(using=way.using), only_database(f"step {step.name!r} of saga {way.saga.name!r}"):
        return dict(function(given) or {})


def _send(way: Transition, instance: Instance, step: Step) -> None:
    at = instance.progress
    undoing = at.direction is Direction.UNDO
    outbox.publish(
        step.compensation if undoing else step.command,
        aggregate_type=AGGREGATE,
        aggregate_id=instance.saga_id,
        payload={
            "saga_id": instance.saga_id,
            "saga": way.saga.name,
            "step": step.name,
            "direction": at.direction.value,
            "attempt": at.attempt,
            "may_refuse": may_refuse(way.saga, at),
            "data": pick(instance.payload, step.sends),
        },
        stream=way.saga.stream,
        using=way.using,
    )


def _speaks_for(saga: Saga, answer: Answer, event: Envelope) -> bool:
    """Whether the event is an answer to the command of the step that it names, on the stream where it is expected."""
    place = saga.place(answer.step)
    if place < 0:
        return False
    step = saga.steps[place]
    command = step.compensation if answer.direction is Direction.UNDO else step.command
    return event.stream == step.replies and event.event_type == answer_type(command)


def _chain(instance: Instance) -> Causality:
    return Causality(correlation_id=instance.correlation_id or instance.saga_id, causation_id=instance.saga_id)


def _note(way: Transition, instance: Instance, decision: Decision) -> None:
    at = decision.progress
    done, undone = decision.done, decision.undone
    event = "done" if done else "undone" if undone else "waits" if not decision.act else "asked"
    if at.status is not instance.progress.status:
        event = at.status.value
    step = done or undone or way.saga.steps[at.step].name
    ledger.note(way.using, instance.saga_id, event, step=step, attempt=at.attempt, reason=way.reason)
