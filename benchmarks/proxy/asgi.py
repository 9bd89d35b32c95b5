"""A reverse proxy in pure Python, as one would write it: an ASGI application over aiohttp's client."""

import os
from typing import Any

HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"te", b"host", b"content-length"}
_session: Any = None


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Pass one request on to the address in UPSTREAM and its answer back."""
    global _session
    import aiohttp

    if scope["type"] != "http":
        return
    if _session is None:
        _session = aiohttp.ClientSession(
            f"http://{os.environ['UPSTREAM']}", connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
        )
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [(name.decode(), value.decode()) for name, value in scope["headers"] if name not in HOP_BY_HOP]
    url = scope["path"] + (f"?{scope['query_string'].decode()}" if scope["query_string"] else "")
    async with _session.request(scope["method"], url, headers=headers, data=body or None) as answer:
        content = await answer.read()
        found = [
            (name.lower(), value) for name, value in answer.raw_headers if name.lower() not in HOP_BY_HOP - {b"host"}
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": found})
        await send({"type": "http.response.body", "body": content})
