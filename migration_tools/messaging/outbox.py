"""Publish domain events: one outbox row in the caller's own transaction, nothing else."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import connections

from migration_tools.conf import settings
from migration_tools.contracts.validation import require
from migration_tools.errors import StrangleError
from migration_tools.kernel.ids import uuid7
from migration_tools.messaging import context
from migration_tools.messaging.models import Outbox, OutboxKind

ROWS_AT_ONCE = 500


def publish(
    event_type: str,
    *,
    aggregate_type: str,
    aggregate_id: object,
    payload: Mapping[str, Any],
    version: int = 1,
    stream: str,
    metadata: Mapping[str, Any] | None = None,
    using: str | None = None,
) -> str:
    """Record an event in the transaction that changes the aggregate; return its id.

    Call inside `atomic()`: the event exists exactly if the transaction commits, and it is published after
    that by the relay. The payload must be JSON, and what its contract says where one is declared.

    Raises:
        StrangleError: there is no open transaction, so state and event could part.
        ContractError: the payload does not fit the declared contract.
    """
    alias = _open(using, event_type)
    made = _row(event_type, aggregate_type, aggregate_id, payload, version=version, stream=stream, metadata=metadata)
    made.save(using=alias, force_insert=True)
    return str(made.event_id)


def publish_many(
    event_type: str,
    each: Iterable[tuple[object, Mapping[str, Any]]],
    *,
    aggregate_type: str,
    version: int = 1,
    stream: str,
    using: str | None = None,
) -> int:
    """Record an event for each (aggregate id, payload), as `publish` would, by a few statements; how many.

    Raises:
        StrangleError: see `publish`.
        ContractError: see `publish`; nothing is recorded.
    """
    alias = _open(using, event_type)
    rows = [_row(event_type, aggregate_type, key, payload, version=version, stream=stream) for key, payload in each]
    Outbox.objects.using(alias).bulk_create(rows, batch_size=ROWS_AT_ONCE)
    return len(rows)


def _open(using: str | None, event_type: str) -> str:
    alias = using or settings().DATABASE
    if not connections[alias].in_atomic_block:
        raise StrangleError(f"publish({event_type!r}) outside a transaction; wrap the change and it in atomic()")
    return alias


def _row(
    event_type: str,
    aggregate_type: str,
    aggregate_id: object,
    payload: Mapping[str, Any],
    *,
    version: int,
    stream: str,
    metadata: Mapping[str, Any] | None = None,
) -> Outbox:
    require(stream, event_type, version, payload)
    chain = context.current()
    return Outbox(
        stream=stream,
        kind=OutboxKind.EVENT,
        event_id=uuid7(),
        event_type=event_type,
        event_version=version,
        aggregate_type=aggregate_type,
        aggregate_id=str(aggregate_id),
        payload=dict(payload),
        correlation_id=chain.correlation_id,
        causation_id=chain.causation_id,
        metadata={**chain.facts(), **(metadata or {})},
    )
