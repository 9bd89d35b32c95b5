"""Publish domain events: one outbox row in the caller's own transaction, nothing else."""

from collections.abc import Mapping
from typing import Any

from django.db import connections

from migration_tools.conf import settings
from migration_tools.contracts.validation import require
from migration_tools.errors import StrangleError
from migration_tools.kernel.ids import uuid7
from migration_tools.messaging import context
from migration_tools.messaging.models import Outbox, OutboxKind


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
    require(stream, event_type, version, payload)
    alias = using or settings().DATABASE
    if not connections[alias].in_atomic_block:
        raise StrangleError(f"publish({event_type!r}) outside a transaction; wrap the change and it in atomic()")
    chain = context.current()
    event_id = uuid7()
    Outbox.objects.using(alias).create(
        stream=stream,
        kind=OutboxKind.EVENT,
        event_id=event_id,
        event_type=event_type,
        event_version=version,
        aggregate_type=aggregate_type,
        aggregate_id=str(aggregate_id),
        payload=dict(payload),
        correlation_id=chain.correlation_id,
        causation_id=chain.causation_id,
        metadata={**chain.facts(), **(metadata or {})},
    )
    return str(event_id)
