"""Why a source's part could not be had, and the RFC 9457 problem document that says so."""

from http import HTTPStatus
from typing import Any

from migration_tools.errors import CompositionError

MEDIA_TYPE = "application/problem+json"


class SourceError(CompositionError):
    """A source did not give what was asked. `status` is what our own caller is told; `retry` whether to ask again."""

    def __init__(self, source: str, detail: str, *, status: HTTPStatus, retry: bool = False) -> None:
        self.source = source
        self.detail = detail
        self.status = status
        self.retry = retry
        super().__init__(f"source {source!r} {detail}")


class NotThere(SourceError):
    """The source answered 404: what was asked for does not exist, and that is an answer."""

    def __init__(self, source: str) -> None:
        super().__init__(source, "has nothing there", status=HTTPStatus.NOT_FOUND)


class CallBudgetSpent(CompositionError):
    """A composition makes more calls than it declared: an N+1. It fails whole, since no answer would mend it."""


class PartFailed(CompositionError):
    """A required part could not be had, so there is no answer; `status` is the answer's."""

    def __init__(self, composition: str, part: str, cause: SourceError) -> None:
        self.part = part
        self.cause = cause
        self.status = cause.status
        super().__init__(f"{composition!r} has no answer without {part!r}: {cause}")


def document(status: HTTPStatus, detail: str, **members: Any) -> dict[str, Any]:
    """The problem document of a status that needs no further type."""
    return {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail, **members}


def document_of(failure: PartFailed) -> dict[str, Any]:
    """The problem of a composition without an answer."""
    return document(failure.status, str(failure), part=failure.part, source=failure.cause.source)
