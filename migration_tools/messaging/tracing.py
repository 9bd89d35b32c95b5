"""Traces through the outbox, by OpenTelemetry where the program uses it, else without any cost.

The API is never imported here: a program that traces has imported it, and its spans are found; one that does not
keeps whatever `traceparent` its requests brought.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\Z")
NAME = "migration_tools"


def current_traceparent() -> str | None:
    """The W3C form of the span that is open now; None when the program does not trace."""
    api = _api()
    if api is None:
        return None
    context = api.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def trace_ids(metadata: Mapping[str, Any]) -> dict[str, str]:
    """`trace_id` and `span_id` of the open span, else of the chain's metadata; empty when there is none."""
    found = TRACEPARENT.match(current_traceparent() or str(metadata.get("traceparent", "")))
    return {"trace_id": found[2], "span_id": found[3]} if found else {}


@contextmanager
def consuming(name: str, metadata: Mapping[str, Any], attributes: Mapping[str, str | int]) -> Iterator[None]:
    """Handle an event within the trace that it came from: a span of kind CONSUMER, child of the publisher's.

    An exception that leaves the block is recorded by its type alone: its message may hold what the event holds.
    """
    api = _api()
    if api is None:
        yield
        return
    tracer = api.get_tracer(NAME)
    with tracer.start_as_current_span(
        name,
        context=_remote(api, metadata),
        kind=api.SpanKind.CONSUMER,
        attributes=dict(attributes),
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Exception as error:
            span.set_status(api.StatusCode.ERROR, type(error).__qualname__)
            raise


def _remote(api: Any, metadata: Mapping[str, Any]) -> Any:
    found = TRACEPARENT.match(str(metadata.get("traceparent", "")))
    if found is None:
        return None
    parent = api.SpanContext(
        trace_id=int(found[2], 16),
        span_id=int(found[3], 16),
        is_remote=True,
        trace_flags=api.TraceFlags(int(found[4], 16)),
    )
    return api.set_span_in_context(api.NonRecordingSpan(parent))


def _api() -> Any:
    return sys.modules.get("opentelemetry.trace")
