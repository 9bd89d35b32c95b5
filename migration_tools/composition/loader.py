"""A request's loader: ids that several parts ask for in one moment become one call, and none is asked for twice."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

# What services of ours take at once; a longer list is split, so a URL stays short.
LARGEST_BATCH = 100

FetchRows = Callable[[list[Any]], Awaitable[Any]]


class Loader:
    """Rows of one endpoint by id, remembered as long as the request; used on one event loop."""

    def __init__(self, fetch: FetchRows, *, by: str = "id", largest: int = LARGEST_BATCH):
        self._fetch = fetch
        self._by = by
        self._largest = largest
        self._rows: dict[Any, asyncio.Future[Any]] = {}
        self._waiting: list[Any] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def load(self, ids: Iterable[Any]) -> dict[Any, Any]:
        """Rows by id, in the asked order; ids without a row are missing."""
        wanted = list(dict.fromkeys(ids))
        loop = asyncio.get_running_loop()
        for each in wanted:
            if each not in self._rows:
                self._rows[each] = loop.create_future()
                if not self._waiting:
                    # After everything that is ready to run now: it may ask for more.
                    loop.call_soon(loop.call_soon, self._send)
                self._waiting.append(each)
        found = await asyncio.gather(*(asyncio.shield(self._rows[each]) for each in wanted))
        return {each: row for each, row in zip(wanted, found, strict=True) if row is not None}

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), self._largest):
            task = asyncio.get_running_loop().create_task(self._ask(waiting[start : start + self._largest]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, ids: list[Any]) -> None:
        try:
            answer = await self._fetch(ids)
            rows = {row[self._by]: row for row in _rows_of(answer)}
            for each in ids:
                self._rows[each].set_result(rows.get(each))
        except BaseException as error:
            for each in ids:
                future = self._rows.pop(each)
                if not future.done():
                    future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
                    future.exception()  # whoever waits sees it; nobody may be left to
            if not isinstance(error, Exception):
                raise


def _rows_of(answer: Any) -> list[dict[str, Any]]:
    """A list, or a page of DRF's with `results`."""
    rows = answer.get("results") if isinstance(answer, dict) else answer
    if not isinstance(rows, list):
        raise ValueError(f"a batch answered {type(answer).__name__}; it must be a list of rows, or a page of them")
    return rows
