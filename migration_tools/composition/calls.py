"""Call a source: within the budget, behind its breaker and bulkhead, again where that may help, and counted."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx2
import stamina

from migration_tools.composition.budget import Budget, ChainTooDeep, DeadlineExceeded
from migration_tools.composition.loader import Loader
from migration_tools.composition.problems import CallBudgetSpent, NotThere, SourceError
from migration_tools.composition.protection import Breaker, Bulkhead
from migration_tools.conf import settings
from migration_tools.errors import CompositionError

FIRST_WAIT_SECONDS = 0.02
LONGEST_WAIT_SECONDS = 0.2
# A source that answers so may answer otherwise in a moment; any other refusal is meant.
PASSING = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}


class Source:
    """One dependency as this process knows it: address, breaker, bulkhead."""

    def __init__(self, name: str, url: str, places: int):
        self.name = name
        self.url = url.rstrip("/")
        self.breaker = Breaker()
        self.bulkhead = Bulkhead(places=places)


# One client a loop for all sources: bulkheads bound the connections to each, and its certificates are read once.
_clients: dict[asyncio.AbstractEventLoop, httpx2.AsyncClient] = {}
_sources: dict[tuple[asyncio.AbstractEventLoop, str, str], Source] = {}


def source_of(name: str) -> Source:
    """The source named in SERVICES; call on the loop.

    Raises:
        CompositionError: SERVICES does not name it.
    """
    url = settings().SERVICES.get(name)
    if not url:
        raise CompositionError(f"MIGRATION_TOOLS['SERVICES'] has no {name!r}; it has {sorted(settings().SERVICES)}")
    key = (asyncio.get_running_loop(), name, url)
    if key not in _sources:
        _sources[key] = Source(name, url, settings().SERVICE_CALLS_AT_ONCE)
    return _sources[key]


def _client() -> httpx2.AsyncClient:
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=30.0)
        _clients[loop] = httpx2.AsyncClient(trust_env=False, limits=limits)
    return _clients[loop]


@dataclass(kw_only=True)
class Calls:
    """The calls of one request: how many were made, how many may be; retries count, since the source feels them."""

    composition: str
    at_most: int | None
    headers: Mapping[str, str]
    made: Counter[str] = field(default_factory=Counter)
    loaders: dict[tuple[str, str, str], Loader] = field(default_factory=dict)

    def count(self, source: str, *, retry: bool) -> None:
        """Note a call; a retry is not what the declared number is about.

        Raises:
            CallBudgetSpent: it is one too many.
        """
        self.made[f"{source} again" if retry else source] += 1
        first = sum(number for name, number in self.made.items() if not name.endswith(" again"))
        if self.at_most is not None and first > self.at_most:
            raise CallBudgetSpent(
                f"{self.composition!r} makes call {first} of {self.at_most}: {dict(self.made)}; "
                "ask for many rows at once by ids, or declare more calls_at_most"
            )


class Asker:
    """What one part asks with; see declaration.Asking."""

    def __init__(self, calls: Calls, budget: Budget, attempts: int):
        self._calls = calls
        self._budget = budget
        self._attempts = attempts

    async def get(self, source: str, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The JSON that a source answers.

        Raises:
            NotThere: it answered 404.
            SourceError: it refused, failed, did not answer in time, or is not asked for now.
        """
        attempts = stamina.retry_context(
            on=lambda error: isinstance(error, SourceError) and error.retry,
            attempts=self._attempts,
            timeout=max(self._budget.left, 0.001),
            wait_initial=FIRST_WAIT_SECONDS,
            wait_max=LONGEST_WAIT_SECONDS,
            wait_jitter=FIRST_WAIT_SECONDS,
        )
        async for attempt in attempts:
            with attempt:
                self._calls.count(source, retry=attempt.num > 1)
                return await self._once(source_of(source), path, params or {})
        raise AssertionError("stamina gave no attempt")

    async def load(self, source: str, path: str, ids: Iterable[Any], by: str = "id") -> dict[Any, Any]:
        """Rows by id; ids without a row are missing from it."""
        key = (source, path, by)
        if key not in self._calls.loaders:
            self._calls.loaders[key] = Loader(lambda wanted: self._rows(source, path, wanted), by=by)
        return await self._calls.loaders[key].load(ids)

    async def _rows(self, source: str, path: str, ids: list[Any]) -> Any:
        return await self.get(source, path, {"ids": ",".join(str(each) for each in ids)})

    async def _once(self, source: Source, path: str, params: Mapping[str, Any]) -> Any:
        try:
            headers = {**self._calls.headers, **self._budget.headers(), "Accept": "application/json"}
        except DeadlineExceeded:
            raise SourceError(
                source.name, "was not asked: no time is left", status=HTTPStatus.GATEWAY_TIMEOUT
            ) from None
        except ChainTooDeep as error:
            raise SourceError(source.name, f"was not asked: {error}", status=HTTPStatus.LOOP_DETECTED) from error
        if not source.breaker.admit(time.monotonic()):
            raise SourceError(
                source.name, "is not asked for a moment: it failed too often", status=HTTPStatus.SERVICE_UNAVAILABLE
            )
        answered = False
        try:
            with source.bulkhead.place(source.name):
                # httpx's limits are for each phase of a call; the deadline is for all of it.
                async with asyncio.timeout(self._budget.left):
                    answer = await _client().get(f"{source.url}{path}", params=params, headers=headers, timeout=None)
            answered = True
        except TimeoutError:
            source.breaker.failed(time.monotonic())
            raise SourceError(
                source.name, "did not answer in time", status=HTTPStatus.GATEWAY_TIMEOUT, retry=True
            ) from None
        except httpx2.HTTPError as error:
            source.breaker.failed(time.monotonic())
            raise SourceError(
                source.name, f"cannot be reached ({type(error).__name__})", status=HTTPStatus.BAD_GATEWAY, retry=True
            ) from error
        finally:
            if not answered:
                # Cancelled, or no place was free: the source was not at fault. After failed() this changes nothing.
                source.breaker.abandoned(time.monotonic())
        return _read(source, answer)


def _read(source: Source, answer: httpx2.Response) -> Any:
    if answer.status_code >= 500:
        source.breaker.failed(time.monotonic())
        passing = answer.status_code in PASSING
        raise SourceError(source.name, f"answered {answer.status_code}", status=HTTPStatus.BAD_GATEWAY, retry=passing)
    source.breaker.succeeded()
    if answer.status_code == HTTPStatus.NOT_FOUND:
        raise NotThere(source.name)
    if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        # Who asks us is known to us; that the source does not accept it is for the caller to hear.
        raise SourceError(source.name, f"answered {answer.status_code}", status=HTTPStatus(answer.status_code))
    if not answer.is_success:
        raise SourceError(source.name, f"answered {answer.status_code}", status=HTTPStatus.BAD_GATEWAY)
    try:
        return answer.json()
    except ValueError as error:
        raise SourceError(source.name, "answered what is no JSON", status=HTTPStatus.BAD_GATEWAY) from error
