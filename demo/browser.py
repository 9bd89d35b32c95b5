"""One customer's browser: a cookie jar, kept-alive connections, and a tally of every answer."""

from __future__ import annotations

import time
from typing import Any

import httpx2

from demo.tally import Tally

TIMEOUT_SECONDS = 40.0
"""Longer than the proxy's route timeout: a held write is answered, not given up by the client."""


class RequestFailed(Exception):
    """The answer was not one of those expected; it has been tallied already."""


class Refused(Exception):
    """The shop answered with a refusal that belongs to its contract (sold out, illegal transition)."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Browser:
    """Sends requests as a browser would: cookies are kept for their Max-Age, writes carry the CSRF token."""

    def __init__(self, url: str, tally: Tally, who: str) -> None:
        self._client = httpx2.Client(base_url=url, timeout=TIMEOUT_SECONDS, headers={"User-Agent": "demo-shopper"})
        self._tally = tally
        self._who = who

    def close(self) -> None:
        self._client.close()

    def be_another_visitor(self) -> None:
        """Forget by which the proxy tells visitors apart, as somebody on another device who is logged in alike."""
        self._client.cookies.delete("sx_bucket") if "sx_bucket" in self._client.cookies else None

    def get(self, name: str, path: str, **params: Any) -> Any:
        """Read ``path``; ``name`` is what the tally calls the request."""
        return self._send(name, "GET", path, params=params or None).json()

    def fetch_token(self) -> None:
        self._send("csrf", "GET", "/api/csrf/", expected=(204,))

    def write(
        self,
        name: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        expected: int = 200,
        refusals: tuple[int, ...] = (),
    ) -> Any:
        """Send a write and give the decoded answer.

        Raises:
            Refused: The answer was one of ``refusals``.
            RequestFailed: It was anything else than ``expected``.
        """
        headers = {"X-CSRFToken": self._client.cookies.get("csrftoken") or ""}
        answer = self._send(name, method, path, json=body, headers=headers, expected=(expected, *refusals))
        if answer.status_code in refusals:
            raise Refused(answer.status_code, answer.text[:300])
        return answer.json()

    def complain(self, name: str, expected: str, detail: str) -> None:
        """Tally an answer whose status was right and whose content was not."""
        self._tally.failure(who=self._who, request=name, expected=expected, status=200, detail=detail)
        raise RequestFailed(name)

    def _send(
        self, name: str, method: str, path: str, *, expected: tuple[int, ...] = (200,), **options: Any
    ) -> httpx2.Response:
        started = time.monotonic()
        try:
            answer = self._client.request(method, path, **options)
        except httpx2.HTTPError as error:
            self._tally.request(name, time.monotonic() - started)
            seconds = time.monotonic() - started
            self._tally.failure(
                who=self._who,
                request=f"{method} {path}",
                expected=str(expected),
                status=None,
                detail=f"{type(error).__name__} after {seconds:.3f} s: {error}",
            )
            raise RequestFailed(name) from error
        self._tally.request(name, time.monotonic() - started)
        if answer.status_code not in expected:
            self._tally.failure(
                who=self._who,
                request=f"{method} {path}",
                expected=str(expected),
                status=answer.status_code,
                detail=answer.text,
            )
            raise RequestFailed(name)
        return answer
