"""The feed's endpoint: an authenticated, long-polling view that any owning side serves."""

import contextlib
import hmac
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any

from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.utils.decorators import method_decorator
from django.views import View

from migration_tools.conf import settings
from migration_tools.errors import StrangleError, TransferError
from migration_tools.messaging.batch import Batch, RelationHead
from migration_tools.messaging.groups import inbox_name, receipt_name
from migration_tools.messaging.stream import note_receipt, read_batch
from migration_tools.messaging.ticks import CHANNEL

LINES = "application/x-ndjson"
LONGEST_WAIT_SECONDS = 30.0
LONGEST_FOLLOW_SECONDS = 5.0
POLL_SECONDS = 0.02
LARGEST_LIMIT = 10_000


def _problem(status: int, title: str, detail: str) -> JsonResponse:
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return JsonResponse(document, status=status, content_type="application/problem+json")


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class FeedView(View):
    """GET /strangle/feed/<stream>/?after=&mark=&limit=&wait=&group=&peek&follow= with a bearer token."""

    http_method_names = ["get"]

    def get(self, request: HttpRequest, stream: str) -> HttpResponse | StreamingHttpResponse:
        """Answer a batch after `after`; wait up to `wait` seconds for one. The asked position is a receipt.

        With `follow` lines of batches may come, see Note [following]; under ASGI, which would gather them, never.
        """
        consumer = consumer_of(request)
        if consumer is None:
            return _problem(401, "unknown token", "present the token that FEED_TOKENS holds for this consumer")
        try:
            after = max(int(request.GET.get("after", "0")), 0)
            limit = min(max(int(request.GET.get("limit", "1000")), 0), LARGEST_LIMIT)
            wait = min(max(float(request.GET.get("wait", "0")), 0.0), LONGEST_WAIT_SECONDS)
            follow = min(max(float(request.GET.get("follow", "0")), 0.0), LONGEST_FOLLOW_SECONDS)
            group = request.GET.get("group", "")
            mark = request.GET.get("mark", "")
            if mark:
                int(mark.rpartition("/")[2])
            inbox_name(stream, group)
        except (ValueError, StrangleError):
            return _problem(
                400,
                "malformed query",
                "after and limit are integers, wait and follow seconds, group a name, mark an answer's",
            )
        alias = settings().DATABASE
        if limit > 0 and "peek" not in request.GET:
            with connections[alias].cursor() as cursor:
                note_receipt(cursor, stream, receipt_name(consumer, group), after)
        reading = _batches(alias, stream, after, mark, limit, wait, follow)
        try:
            first = next(reading)
        except TransferError as error:
            return _problem(409, "position cannot be served", str(error))
        if follow > 0 and first.last > after and not hasattr(request, "scope"):
            return _lines(first, reading)
        reading.close()
        return HttpResponse(first.to_json(), content_type="application/json")


def _lines(first: Batch, rest: Generator[Batch, None, None]) -> StreamingHttpResponse:
    """Batches as lines, each sent when it is there."""

    def lines() -> Iterator[bytes]:
        with contextlib.closing(rest), contextlib.suppress(TransferError):
            # What cannot be served is said to the next request, which can be answered with a status.
            yield first.to_json().encode() + b"\n"
            for batch in rest:
                yield batch.to_json().encode() + b"\n"

    answer = StreamingHttpResponse(lines(), content_type=LINES)
    # A proxy or a middleware that gathered lines would only make them later.
    answer.headers["X-Accel-Buffering"] = "no"
    answer.headers["Cache-Control"] = "no-store, no-transform"
    answer.headers["Content-Encoding"] = "identity"
    return answer


def consumer_of(request: HttpRequest) -> str | None:
    """Whose token of FEED_TOKENS a request shows; None when it is nobody's."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not token:
        return None
    for name, expected in settings().FEED_TOKENS.items():
        if expected and hmac.compare_digest(expected.encode(), token.encode()):
            return name
    return None


def _batches(
    alias: str, stream: str, after: int, mark: str, limit: int, wait: float, follow: float
) -> Generator[Batch, None, None]:
    """One batch after `after`, empty if none comes within `wait`; then those that come within `follow` of the first.

    Note [following]. A request costs more than a batch: who follows gets the next batches in the same answer. It ends
    soon, because the position that is asked for is the consumer's receipt; and it has no more under way than the
    connection holds, since the next batch is read when the one before it was taken.
    """
    heads: dict[int, RelationHead] = {}
    following = listening = False
    deadline = time.monotonic() + wait
    with connections[alias].cursor() as opened, _planned(opened, follow) as cursor:
        try:
            while True:
                batch = read_batch(
                    cursor, stream, origin=settings().SIDE, after=after, limit=limit, known=heads, mark=mark
                )
                mark = ""
                if batch.last > after:
                    yield batch
                    after = batch.last
                    if not following:
                        following, deadline = True, time.monotonic() + follow
                remaining = deadline - time.monotonic()
                if remaining <= 0 or limit <= 0:
                    if not following:
                        yield batch
                    return
                if batch.first != batch.last:
                    continue
                if listening:
                    _sleep_until_notified(connections[alias].connection, stream, remaining)
                elif _pooled(connections[alias].connection):
                    # A pooler would have another session listen; and this one, when somebody else has it.
                    threading.Event().wait(min(POLL_SECONDS, remaining))
                else:
                    # What was committed before it, the next look finds.
                    opened.execute(f"LISTEN {CHANNEL}")
                    listening = True
        finally:
            if listening:
                opened.execute(f"UNLISTEN {CHANNEL}")


@contextlib.contextmanager
def _planned(opened: Any, follow: float) -> Iterator[Any]:
    """For who follows, a cursor whose statements the server plans once; with psycopg2 Django's own."""
    if follow <= 0 or not hasattr(opened.connection, "prepare_threshold") or _pooled(opened.connection):
        yield opened
        return
    from migration_tools.stores.postgres import kept_plans

    with kept_plans(opened.connection) as cursor:
        yield cursor


def _pooled(driver_connection: Any) -> bool:
    """Whether a pooler stands between, which may keep neither plans nor notifications; psycopg2 has neither anyway."""
    if not hasattr(driver_connection, "prepare_threshold"):
        return False
    from migration_tools.stores.postgres import is_pooled

    return is_pooled(driver_connection)


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
