"""Carry the chain from who publishes a Celery task to the worker that runs it, in the task's headers.

Call `carry_causality()` once, where the project makes its Celery application: web processes and workers both need it.
"""

from contextlib import AbstractContextManager
from typing import Any

from celery.signals import before_task_publish, task_postrun, task_prerun

from migration_tools.messaging.context import Causality, caused_by, running

HEADER = "strangle_causality"


def carry_causality() -> None:
    """Give each task its publisher's chain; a task that nobody's chain published begins one under its own id."""
    before_task_publish.connect(_enclose, dispatch_uid="strangle_enclose", weak=False)
    task_prerun.connect(_begin, dispatch_uid="strangle_begin", weak=False)
    task_postrun.connect(_end, dispatch_uid="strangle_end", weak=False)


def _enclose(headers: dict[str, Any] | None = None, **_: Any) -> None:
    chain = running()
    if chain is not None and headers is not None and HEADER not in headers:
        headers[HEADER] = {"correlation": chain.correlation_id, "metadata": chain.facts()}


def _begin(task_id: str, task: Any, **_: Any) -> None:
    enclosed = getattr(task.request, HEADER, None) or {}
    chain = Causality(
        correlation_id=str(enclosed.get("correlation") or task.request.root_id or task_id),
        causation_id=task_id,
        metadata={**(enclosed.get("metadata") or {}), "task": task.name},
    )
    block: AbstractContextManager[None] = caused_by(chain)
    block.__enter__()
    task.request.strangle_block = block


def _end(task: Any, **_: Any) -> None:
    block = getattr(task.request, "strangle_block", None)
    if block is not None:
        task.request.strangle_block = None
        block.__exit__(None, None, None)
