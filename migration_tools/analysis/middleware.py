"""Watch a running site: `TraceMiddleware` records what it couples, `GuardMiddleware` logs or refuses what is new."""

import atexit
import os
import threading
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from migration_tools.analysis.baseline import Baseline, path_of_baseline
from migration_tools.analysis.context_file import load_contexts, path_in_project
from migration_tools.analysis.guard import Guard, Mode
from migration_tools.analysis.observation import Observer, scope
from migration_tools.analysis.trace import Trace
from migration_tools.conf import settings

SAVE_SECONDS = 5.0


class _Watching(MiddlewareMixin):
    """Each request runs in a scope of its own."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Run the view within its scope."""
        if self.async_mode:
            return self._answer_async(request)
        with scope(f"{request.method} {request.path}"):
            response: HttpResponseBase = self.get_response(request)  # type: ignore[assignment]
        self.answered()
        return response

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        with scope(f"{request.method} {request.path}"):
            answer: Any = self.get_response(request)
            response: HttpResponseBase = await answer
        self.answered()
        return response

    def answered(self) -> None:
        """A request is over."""


class TraceMiddleware(_Watching):
    """Observes all connections of the process from the first request on; saves what it saw now and then, and last."""

    def __init__(self, get_response: Any):
        super().__init__(get_response)
        contexts = load_contexts()
        self.trace = Trace(contexts)
        self.observer = Observer(contexts, [self.trace])
        self.observer.install()
        self._saved_at = 0.0
        self._due = False
        self._saving = threading.Lock()

        atexit.register(self._save_rest)

    def answered(self) -> None:
        """Save if it is time."""
        self._due = True
        if time.monotonic() - self._saved_at < SAVE_SECONDS or not self._saving.acquire(blocking=False):
            return
        try:
            self._saved_at = time.monotonic()
            self._save()
        finally:
            self._saving.release()

    def _save(self) -> None:
        self._due = False  # before it is read: what comes meanwhile is due again
        self.trace.save(trace_directory() / f"trace-{os.getpid()}.json")

    def _save_rest(self) -> None:
        """Save the last seconds of a process that ends."""
        if self._due:
            self._save()


class GuardMiddleware(_Watching):
    """Installs the guard on all connections of the process, by GUARD of the settings; `off` costs nothing."""

    def __init__(self, get_response: Any):
        super().__init__(get_response)
        mode = Mode(settings().GUARD)
        if mode is Mode.OFF:
            raise MiddlewareNotUsed("MIGRATION_TOOLS['GUARD'] is 'off'")
        contexts = load_contexts()
        self.guard = Guard(contexts, Baseline.read(path_of_baseline()), mode)
        self.observer = Observer(contexts, [self.guard])
        self.observer.install()


def trace_directory() -> Path:
    """Where the traces of this site's processes are kept."""
    return path_in_project(settings().TRACES)
