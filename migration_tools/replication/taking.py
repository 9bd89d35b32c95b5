"""The receiving end of commands: one Idempotency-Key has one effect and one answer, however often it comes."""

import functools
import hashlib
from collections.abc import Callable
from typing import Any, LiteralString, TypeVar

from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse

from migration_tools.conf import settings

HEADER = "Idempotency-Key"
LONGEST_KEY = 200

# Insert first: a second delivery waits here until the first one's transaction has ended, and then sees its answer.
_TAKE: LiteralString = """
    INSERT INTO strangle_command_taken (key, fingerprint, content_type) VALUES (%s, %s, '') ON CONFLICT DO NOTHING"""
_ANSWER: LiteralString = """
    SELECT fingerprint, status, content_type, body FROM strangle_command_taken WHERE key = %s"""
_KEEP: LiteralString = "UPDATE strangle_command_taken SET status = %s, content_type = %s, body = %s WHERE key = %s"

View = TypeVar("View", bound=Callable[..., HttpResponse])


class _NotKept(Exception):
    """Undo the effect of an answer that is none."""

    def __init__(self, response: HttpResponse) -> None:
        self.response = response


def once(view: View) -> View:
    """Let a view have one effect for each Idempotency-Key; requests without one are refused.

    The view runs in the transaction that remembers its answer. Answers from 500 on are undone with their effect, so
    that a repetition tries again; all others are kept. A key that comes with another request is refused with 422.
    """

    @functools.wraps(view)
    def taking(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        key = request.headers.get(HEADER, "")
        if not 0 < len(key) <= LONGEST_KEY:
            return _problem(400, f"send an {HEADER} of at most {LONGEST_KEY} characters, and the same one again")
        fingerprint = _fingerprint(request)
        try:
            with transaction.atomic(using=settings().DATABASE):
                if _first(key, fingerprint):
                    response = view(request, *args, **kwargs)
                    if response.status_code >= 500:
                        raise _NotKept(response)
                    _keep(key, response)
                    return response
        except _NotKept as undone:
            return undone.response
        return _again(key, fingerprint)

    return taking  # type: ignore[return-value]


def _first(key: str, fingerprint: str) -> bool:
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute(_TAKE, [key, fingerprint])
        return bool(cursor.rowcount)


def _keep(key: str, response: HttpResponse) -> None:
    if hasattr(response, "render") and not getattr(response, "is_rendered", True):
        response.render()
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute(_KEEP, [response.status_code, response.get("Content-Type", ""), response.content, key])


def _again(key: str, fingerprint: str) -> HttpResponse:
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute(_ANSWER, [key])
        first, status, content_type, body = cursor.fetchone()
    if first != fingerprint:
        return _problem(422, f"this {HEADER} came with another request before; each command has a key of its own")
    response = HttpResponse(bytes(body or b""), status=status, content_type=content_type or None)
    response["Idempotency-Replayed"] = "true"
    return response


def _fingerprint(request: HttpRequest) -> str:
    said = f"{request.method} {request.get_full_path()}\n".encode() + request.body
    return hashlib.sha256(said).hexdigest()


def _problem(status: int, detail: str) -> JsonResponse:
    title = {400: "Bad Request", 422: "Unprocessable Content"}[status]
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return JsonResponse(document, status=status, content_type="application/problem+json")
