"""The feed's endpoint: an authenticated, long-polling view that any owning side serves."""

import hmac
import threading
import time
from typing import Any

from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.decorators import method_decorator
from django.views import View

from migration_tools.conf import settings
from migration_tools.errors import StrangleError, TransferError
from migration_tools.messaging.batch import Batch
from migration_tools.messaging.groups import inbox_name, receipt_name
from migration_tools.messaging.stream import note_receipt, read_batch
from migration_tools.messaging.ticks import CHANNEL

LONGEST_WAIT_SECONDS = 30.0
POLL_SECONDS = 0.02
LARGEST_LIMIT = 10_000


def _problem(status: int, title: str, detail: str) -> JsonResponse:
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return JsonResponse(document, status=status, content_type="application/problem+json")


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class FeedView(View):
    """GET /strangle/feed/<stream>/?after=&limit=&wait=&group=&peek with `Authorization: Bearer <token>`."""

    http_method_names = ["get"]

    def get(self, request: HttpRequest, stream: str) -> HttpResponse:
        """Answer a batch after `after`; wait up to `wait` seconds for one. The asked position is the consumer's
        receipt."""
        consumer = consumer_of(request)
        if consumer is None:
            return _problem(401, "unknown token", "present the token that FEED_TOKENS holds for this consumer")
        try:
            after = max(int(request.GET.get("after", "0")), 0)
            limit = min(max(int(request.GET.get("limit", "1000")), 0), LARGEST_LIMIT)
            wait = min(max(float(request.GET.get("wait", "0")), 0.0), LONGEST_WAIT_SECONDS)
            group = request.GET.get("group", "")
            inbox_name(stream, group)
        except (ValueError, StrangleError):
            return _problem(
                400, "malformed query", "after and limit are integers, wait a number of seconds, group a name"
            )
        alias = settings().DATABASE
        if limit > 0 and "peek" not in request.GET:
            with connections[alias].cursor() as cursor:
                note_receipt(cursor, stream, receipt_name(consumer, group), after)
        try:
            batch = _wait_for(alias, stream, after, limit, wait)
        except TransferError as error:
            return _problem(409, "position cannot be served", str(error))
        return HttpResponse(batch.to_json(), content_type="application/json")


def consumer_of(request: HttpRequest) -> str | None:
    """Whose token of FEED_TOKENS a request shows; None when it is nobody's."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not token:
        return None
    for name, expected in settings().FEED_TOKENS.items():
        if expected and hmac.compare_digest(expected.encode(), token.encode()):
            return name
    return None


def _wait_for(alias: str, stream: str, after: int, limit: int, wait: float) -> Batch:
    deadline = time.monotonic() + wait
    with connections[alias].cursor() as cursor:
        batch = read_batch(cursor, stream, origin=settings().SIDE, after=after, limit=limit)
        if batch.last > after or wait <= 0 or limit <= 0:
            return batch
        cursor.execute(f"LISTEN {CHANNEL}")
        try:
            while True:
                batch = read_batch(cursor, stream, origin=settings().SIDE, after=after, limit=limit)
                remaining = deadline - time.monotonic()
                if batch.last > after or remaining <= 0:
                    return batch
                _sleep_until_notified(connections[alias].connection, stream, remaining)
        finally:
            cursor.execute(f"UNLISTEN {CHANNEL}")


def _sleep_until_notified(driver_connection: Any, stream: str, seconds: float) -> None:
    """Wait for the relay's notification of this stream; with psycopg2, which cannot wait, for a moment."""
    try:
        notices = driver_connection.notifies(timeout=seconds)
    except TypeError:
        threading.Event().wait(min(POLL_SECONDS, seconds))
        return
    for notice in notices:
        if notice.payload == stream:
            notices.close()
            return
