"""Hostile requests, byte for byte, against the real Envoy: refused at the edge, or harmless by the time they arrive."""

import contextlib
import re
import select
import socket
from collections.abc import Iterator

import pytest

from migration_tools.routing.table import with_reads, with_writes
from tests.integration.proxy_rig import Rig, rig

SECONDS = 20.0
SMUGGLED = b"GET /admin/smuggled HTTP/1.1\r\nHost: shop\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def proxy() -> Iterator[Rig]:
    """The orders on the new side; whatever reaches the old one by way of /api/orders has missed its route."""
    with rig(request_headers_timeout_seconds=1.0, request_timeout_seconds=2.0) as made:
        made.publish(lambda table: with_writes(with_reads(table, "orders", 100), "orders", "new"))
        yield made


def send(proxy: Rig, request: bytes, *, rest: bytes = b"") -> bytes:
    """What comes back for these bytes until the connection is closed, or, where that was not asked for, falls silent.

    The `rest` is sent when the other end has had enough of waiting for it.
    """
    listen = proxy.options.listen
    with socket.create_connection((listen.host, listen.port), timeout=SECONDS) as sock:
        sock.sendall(request)
        if rest:
            select.select([sock], [], [], SECONDS)
            with contextlib.suppress(OSError):
                sock.sendall(rest)
        return received(sock, SECONDS if b"Connection: close" in request else 0.5)


def received(sock: socket.socket, silence: float) -> bytes:
    found = b""
    while True:
        try:
            block = sock.recv(65_536)
        except (TimeoutError, ConnectionResetError):
            return found
        if not block:
            return found
        sock.settimeout(silence)
        found += block


def statuses(answer: bytes) -> list[int]:
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3})", answer)]


def post(*headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"POST /api/orders/ HTTP/1.1", b"Host: shop", *headers, b"", b""]) + body


REFUSED = {
    "length and chunks (CL.TE)": post(b"Content-Length: 6", CHUNKED, body=b"0\r\n\r\n" + SMUGGLED),
    "chunks and length (TE.CL)": post(CHUNKED, b"Content-Length: 4", body=b"2a\r\n" + SMUGGLED + b"\r\n0\r\n\r\n"),
    "two lengths": post(b"Content-Length: 0", b"Content-Length: 44", body=SMUGGLED),
    "two lengths in one": post(b"Content-Length: 0, 44", body=SMUGGLED),
    "a negative length": post(b"Content-Length: -1"),
    "a length with a sign": post(b"Content-Length: +5", body=b"hello"),
    "chunks spelt otherwise": post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + SMUGGLED),
    "chunks hidden by a tab": post(b"Transfer-Encoding:\x0bchunked", body=b"0\r\n\r\n" + SMUGGLED),
    "a space before the colon": post(b"Content-Length : 5", body=b"hello"),
    "a chunk size that is none": post(CHUNKED, body=b"zz\r\nhello\r\n0\r\n\r\n"),
    "a NUL in a header": post(b"X-Name: a\x00b", b"Content-Length: 0"),
    "a header with an underscore": post(b"X_Strangler_User: 1", b"Content-Length: 0"),
    "two hosts": b"GET /api/orders/ HTTP/1.1\r\nHost: shop\r\nHost: evil\r\n\r\n",
    "no host": b"GET /api/orders/ HTTP/1.1\r\n\r\n",
    "a path with a NUL": b"GET /api/orders/%00 HTTP/1.1\r\nHost: shop\r\n\r\n",
    "a host with an account": b"GET /api/orders/ HTTP/1.1\r\nHost: shop@evil\r\n\r\n",
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n",
    "HTTP/0.9": b"GET /api/orders/\r\n\r\n",
    "CONNECT": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n",
    "headers too large": b"GET /api/orders/ HTTP/1.1\r\nHost: shop\r\nX-Big: " + b"a" * 70_000 + b"\r\n\r\n",
    "too many headers": post(*(b"X-%d: 1" % number for number in range(200))),
}  # fmt: skip


@pytest.mark.parametrize("request_bytes", REFUSED.values(), ids=REFUSED.keys())
def test_what_could_be_read_in_two_ways_is_refused_at_the_edge(proxy: Rig, request_bytes: bytes) -> None:
    seen = len(proxy.old.seen) + len(proxy.new.seen)
    found = statuses(send(proxy, request_bytes))
    assert len(found) <= 1
    assert all(400 <= code < 500 or code == 501 for code in found), found
    assert not any("smuggled" in line for line in proxy.old.seen + proxy.new.seen)
    assert len(proxy.old.seen) + len(proxy.new.seen) == seen, "it reached an application"


SPELLINGS = [
    b"/api/orders/", b"//api/orders/", b"/api//orders/", b"/./api/orders/", b"/x/../api/orders/", b"/api/./orders/",
    b"/%61pi/orders/", b"/%6frders/../api/orders/", b"/api/%6frders/", b"/api/orders/?next=/../products",
    b"/api/orders/;/", b"/api/orders/%20",
]  # fmt: skip


@pytest.mark.parametrize("path", SPELLINGS, ids=lambda path: path.decode())
def test_no_spelling_of_a_path_reaches_the_side_that_does_not_own_it(proxy: Rig, path: bytes) -> None:
    before = len(proxy.old.seen)
    found = statuses(send(proxy, b"GET " + path + b" HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"))
    assert found == [200]
    assert len(proxy.old.seen) == before


@pytest.mark.parametrize("path", [b"/api%2forders/", b"/api%5corders/", b"/api\\orders/", b"/API/orders/"])
def test_what_is_another_path_to_django_is_never_both(proxy: Rig, path: bytes) -> None:
    """Redirected to its plain spelling, refused, or another address: never the owner's view on the other side."""
    send(proxy, b"GET " + path + b" HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
    assert not [line for line in proxy.old.seen if line.startswith("GET /api/orders")]


def test_a_path_cannot_climb_out_of_the_root(proxy: Rig) -> None:
    send(proxy, b"GET /../../etc/passwd HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
    assert [line for line in proxy.old.seen if "passwd" in line] in ([], ["GET /etc/passwd"])


def test_an_absolute_address_is_routed_by_its_path(proxy: Rig) -> None:
    request = b"GET http://evil/api/orders/ HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"
    assert b'"side": "new"' in send(proxy, request)


FORGED = [
    b"X-Forwarded-For: 9.9.9.9", b"X-Forwarded-Host: evil", b"X-Forwarded-Proto: https", b"X-Forwarded-Port: 1",
    b"X-Forwarded-Prefix: /evil", b"X-Original-URL: /admin/", b"X-Rewrite-URL: /admin/", b"X-Real-IP: 9.9.9.9",
    b"Forwarded: for=9.9.9.9;host=evil", b"X-Request-Id: mine", b"Proxy: http://evil", b"X-Envoy-Retry-On: 5xx",
    b"X-Envoy-Upstream-Rq-Timeout-Ms: 1", b"X-Envoy-Original-Path: /admin/", b"X-Strangler-User: 1",
    b"X-Strangler-Shadow: 1", b"X-Strangler-Fenced: 1", b"X-Strangler-Origin: a", b"X-Sx-Force: old",
    b"X-Strangler-Writes: orders", b"X-Strangler-Pinned: orders",
]  # fmt: skip


@pytest.mark.parametrize("header", FORGED, ids=lambda header: header.split(b":")[0].decode())
def test_no_forged_header_arrives(proxy: Rig, header: bytes) -> None:
    answer = send(proxy, b"GET /api/orders/ HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n" + header + b"\r\n\r\n")
    name, _, value = header.partition(b": ")
    assert statuses(answer) == [200]
    assert value not in re.findall(rb'"%s": "([^"]*)"' % name.lower(), answer)
    assert b'"side": "new"' in answer


def test_a_body_cannot_hold_the_next_request(proxy: Rig) -> None:
    """Two requests in one write are two requests; a body of the right length is a body, whatever it looks like."""
    before = len(proxy.new.seen)
    request = post(b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED)
    answer = send(proxy, request + b"GET /api/orders/ HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
    assert statuses(answer) == [200, 200]
    assert [line.split()[1] for line in proxy.new.seen[before:]] == ["/api/orders/", "/api/orders/"]


def test_headers_and_bodies_that_dribble_in_are_cut(proxy: Rig) -> None:
    seen = len(proxy.new.seen)
    assert statuses(send(proxy, b"GET /api/orders/ HTTP/1.1\r\nHost: sh", rest=b"op\r\n\r\n")) in ([408], [])
    slow = post(b"Content-Length: 100", body=b"half")
    assert statuses(send(proxy, slow, rest=b"x" * 96)) in ([408], [])
    assert len(proxy.new.seen) == seen
