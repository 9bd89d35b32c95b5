"""Who waits at the feed also follows: batches come in one answer while there are any, every end of it is survived."""

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.test import AsyncRequestFactory, RequestFactory

from migration_tools.errors import TransportError
from migration_tools.messaging.batch import Batch
from migration_tools.messaging.feed import FeedView
from migration_tools.messaging.transports import feed as transport
from migration_tools.messaging.transports.feed import HttpFeed
from tests.races.scene import note, until
from tests.stage import STREAM

TOKEN = "tests-feed-token-orders"
Body = Iterator[bytes]


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Site:
    """The monolith's feed on HTTP; what was asked, and what a proxy in between does to bodies."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.proxied: Callable[[Body], Body] = lambda body: body
        self._app = get_wsgi_application()

    def __call__(self, environ: Any, start: Any) -> Body:
        self.asked.append(environ["QUERY_STRING"])
        answer = self._app(environ, start)
        try:
            yield from self.proxied(iter(answer))
        finally:
            answer.close()
            connections.close_all()

    @contextmanager
    def serving(self) -> Iterator[HttpFeed]:
        with make_server("127.0.0.1", 0, self, _Server, _Silent) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            feed = HttpFeed(STREAM, url=f"http://127.0.0.1:{server.server_port}/strangle/feed/", token=TOKEN)
            try:
                yield feed
            finally:
                feed._leave()
                feed._client.close()
                server.shutdown()
                thread.join()


@pytest.fixture
def site(stage: Any, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(transport, "FOLLOW_SECONDS", 5.0)  # however slow the machine is; the feed allows no more
    stage.tick()
    return Site()


def write(stage: Any, *texts: str) -> int:
    """A tick for each text; returns the stream's end."""
    for text in texts:
        note(stage.shop, 1, text)
        stage.tick()
    return int(stage.shop.execute("SELECT max(base + records) FROM strangle_tick").fetchone()[0])


def fetch(feed: HttpFeed, after: int, wait: float = 5.0) -> Batch:
    return feed.fetch(after=after, limit=1, wait_seconds=wait)


def receipt(stage: Any) -> int:
    return int(stage.shop.execute("SELECT position FROM strangle_consumer WHERE name = 'orders'").fetchone()[0])


def test_batches_follow_in_one_answer_and_the_next_request_is_the_receipt(stage: Any, site: Site) -> None:
    end = write(stage, "a", "b", "c")
    with site.serving() as feed:
        at = 0
        while at < end:
            batch = fetch(feed, at)
            assert (batch.first, batch.last > at) == (at, True)
            at = batch.last
        assert len(site.asked) == 1
        assert receipt(stage) == 0
        assert fetch(feed, at, wait=0.1).last == at
        assert len(site.asked) == 2
        assert receipt(stage) == end


def test_a_commit_while_the_answer_is_open_comes_in_it(stage: Any, site: Site) -> None:
    write(stage, "a")
    with site.serving() as feed:
        at = feed.fetch(after=0, limit=100, wait_seconds=5).last
        end = write(stage, "b")
        assert (fetch(feed, at).last, len(site.asked)) == (end, 1)


def test_what_came_while_the_consumer_was_at_work_is_taken_together(stage: Any, site: Site) -> None:
    write(stage, "a")
    with site.serving() as feed:
        at = feed.fetch(after=0, limit=100, wait_seconds=5).last
        end = write(stage, "b", "c", "d")
        following = feed._following
        assert following is not None
        until(lambda: following._lines.qsize() == 3, "three lines are there")
        run = feed.fetch(after=at, limit=100, wait_seconds=5)
        assert (run.first, run.last, len(run.rows)) == (at, end, 3)
        assert [row.position for row in run.rows] == [at + 1, at + 2, at + 3]
        assert run.mark.endswith(str(round(run.rows[-1].occurred * 1_000_000)))
        assert len(site.asked) == 1
        end = write(stage, "e", "f")
        until(lambda: following._lines.qsize() == 2, "two lines are there")
        assert fetch(feed, run.last).last == end - 1, "no more than was asked for"
        assert fetch(feed, end - 1).last == end


def test_who_is_set_back_or_does_not_wait_is_answered_anew(stage: Any, site: Site) -> None:
    write(stage, "a", "b")
    with site.serving() as feed:
        first = fetch(feed, 0)
        assert fetch(feed, 0) == first
        assert fetch(feed, first.last, wait=0).first == first.last
        assert ["follow" in each for each in site.asked] == [True, True, False]


def test_an_answer_that_breaks_off_within_a_line_is_asked_for_again(stage: Any, site: Site) -> None:
    def broken(body: Body) -> Body:
        yield next(body)
        yield next(body)[:20]

    end = write(stage, "a", "b")
    site.proxied = broken
    with site.serving() as feed:
        first = fetch(feed, 0)
        site.proxied = lambda body: body
        second = fetch(feed, first.last)
        assert (second.first, second.last, len(site.asked)) == (first.last, second.last, 2)
        while second.last < end:
            second = fetch(feed, second.last)


def test_a_line_that_is_no_batch_is_an_error_of_the_transport_and_the_next_request_is_a_new_one(
    stage: Any, site: Site
) -> None:
    write(stage, "a")
    site.proxied = lambda body: iter([b"<html>\n"])
    with site.serving() as feed:
        with pytest.raises(TransportError, match="not a batch"):
            fetch(feed, 0)
        site.proxied = lambda body: body
        assert fetch(feed, 0).first == 0


def test_nothing_gathers_the_lines_on_their_way(stage: Any, site: Site) -> None:
    write(stage, "a")
    query = {"after": 0, "wait": 1, "follow": 0.1}
    request = RequestFactory().get("/", query, headers={"authorization": f"Bearer {TOKEN}"})
    with closing(FeedView.as_view()(request, STREAM)) as answer:
        assert answer.streaming
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.headers["Content-Encoding"] == "identity", "or GZipMiddleware would hold lines back"
        assert len(b"".join(answer.streaming_content).splitlines()) >= 1
    gathering = AsyncRequestFactory().get("/", query, headers={"authorization": f"Bearer {TOKEN}"})
    assert not FeedView.as_view()(gathering, STREAM).streaming, "ASGI gathers what a synchronous view yields"
