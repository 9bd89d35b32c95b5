"""The runner: carries out what was asked for, each in a process of its own, and observes the contexts beside it."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from django.db import connections
from django.db.models import QuerySet
from django.db.utils import Error as DatabaseFailure
from django.utils import timezone

from migration_tools.conf import settings
from migration_tools.errors import StrangleError
from migration_tools.kernel.actors import actor
from migration_tools.kernel.locks import LockClass
from migration_tools.overview.bystanders import keep_bystander, observe_bystander
from migration_tools.overview.observing import keep, observe
from migration_tools.overview.requests import NO_CONTEXT, SAGAS, STOP, Ticket, believe, forget_looks
from migration_tools.playbook.registry import bystanders, load
from migration_tools.state.journal import record
from migration_tools.state.models import Request, RequestState, Runner
from migration_tools.stores.postgres import Connection, advisory, connect, describe_failure, errors

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 60.0
TAIL = 6000
FAILURES = (StrangleError, DatabaseFailure, errors.Error, OSError)


@dataclass(kw_only=True)
class Child:
    """A command under way, and where it writes."""

    request: int
    ticket: Ticket
    process: "subprocess.Popen[bytes]"
    directory: Path

    @property
    def context(self) -> str:
        return self.ticket.context

    def said(self) -> str:
        """The end of what it told on stderr."""
        with contextlib.suppress(OSError):
            return (self.directory / "errors").read_bytes()[-TAIL:].decode(errors="replace")
        return ""


class RequestRunner:
    """One leads, others stand by; the end of its process ends no command that it began."""

    def __init__(self, *, every: float, say: Callable[[str], None] = lambda _: None) -> None:
        self._every = every
        self._say = say
        self._children: dict[int, Child] = {}

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; then commands under way are told to save their checkpoints, and awaited."""
        watcher = threading.Thread(target=self._observe, args=(stop,), name="observer")
        watcher.start()
        pause = POLL_SECONDS
        try:
            while not stop.is_set():
                try:
                    with connect(settings().DATABASE, "runner") as conn:
                        self._lead(conn, stop)
                except FAILURES as error:
                    connections[settings().DATABASE].close()
                    log.warning("runner: %s; trying again", describe_failure(error))
                    stop.wait(pause := min(pause * 2, 2.0))
        finally:
            self._end()
            watcher.join()

    def _lead(self, conn: Connection, stop: threading.Event) -> None:
        while not stop.is_set() and not advisory.try_hold(conn, LockClass.RUNNER, "requests"):
            stop.wait(POLL_SECONDS)
        if stop.is_set():
            return
        self._say("waiting for requests; observing every context")
        self._forsake()
        heard = 0.0
        while not stop.is_set():
            conn.execute("SELECT 1")  # the lock lives as long as this connection
            if time.monotonic() > heard + 1:
                heard = time.monotonic()
                self._be_heard()
            self._look_after()
            for row in _requests().filter(state=RequestState.WAITING).order_by("id"):
                self._take(row)
            stop.wait(POLL_SECONDS)

    def _be_heard(self) -> None:
        rows = Runner.objects.using(settings().DATABASE)
        rows.update_or_create(pk=1, defaults={"actor": actor(), "seen_at": timezone.now()})

    def _forsake(self) -> None:
        """What an earlier runner began and did not see end."""
        lost = _requests().filter(state=RequestState.RUNNING).exclude(pk__in=list(self._children))
        lost.update(
            state=RequestState.LOST,
            ended_at=timezone.now(),
            output="the runner ended before the command did; see strangle_status, and ask for it again to go on",
        )

    def _take(self, row: Request) -> None:
        try:
            ticket = believe(row)
        except StrangleError as error:
            _finish(row.pk, RequestState.REFUSED, output=str(error))
            self._say(f"request {row.pk} refused: {error}")
            return
        if ticket.command == STOP:
            child = self._children.get(int(ticket.arguments[0]))
            if child is not None:
                child.process.send_signal(signal.SIGTERM)
            _finish(row.pk, RequestState.DONE, output="" if child else "it had ended already")
            return
        if self._busy(ticket):
            return  # a second move waits; a wish about a copy reaches it while it runs
        self._say(f"request {row.pk}: {ticket.command} {' '.join(ticket.arguments)}, asked for by {ticket.actor}")
        try:
            self._children[row.pk] = _begin(row.pk, ticket)
        except (StrangleError, OSError) as error:
            _finish(row.pk, RequestState.FAILED, output=f"it could not be started: {error}")
            self._say(f"request {row.pk} could not be started: {error}")
            return
        _requests().filter(pk=row.pk).update(state=RequestState.RUNNING, started_at=timezone.now())
        if ticket.context == NO_CONTEXT:
            forget_looks()

    def _busy(self, ticket: Ticket) -> bool:
        if ticket.command == SAGAS or any(
            argument in {"--pause", "--resume", "--cancel"} for argument in ticket.arguments
        ):
            return False
        return any(child.context == ticket.context for child in self._children.values())

    def _look_after(self) -> None:
        for number, child in list(self._children.items()):
            code = child.process.poll()
            if code is None:
                _requests().filter(pk=number).exclude(output=child.said()).update(output=child.said())
                continue
            with contextlib.suppress(OSError, ValueError):
                result = json.loads((child.directory / "output").read_text())
                _requests().filter(pk=number).update(result=result)
            if child.ticket.service:
                _journal(child.ticket, number, code)
            state = RequestState.DONE if code == 0 else RequestState.FAILED
            _finish(number, state, output=child.said(), exit_code=code)
            self._say(f"request {number} ended with exit code {code}")
            del self._children[number]
            _remove(child.directory)

    def _end(self) -> None:
        """Let every command save its checkpoint; keep how each ended."""
        for child in self._children.values():
            child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE_SECONDS
        for child in self._children.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(deadline - time.monotonic(), 0.1))
        with contextlib.suppress(*FAILURES):
            self._look_after()
        connections[settings().DATABASE].close()

    def _observe(self, stop: threading.Event) -> None:
        """Every few seconds, one context after the other, then the services beside them; no failure ends it."""
        try:
            while not stop.is_set():
                for context, playbook in load().items():
                    with _said(context):
                        keep(observe(playbook))
                for name in bystanders():
                    with _said(name):
                        keep_bystander(observe_bystander(name))
                stop.wait(self._every)
        finally:
            connections.close_all()


@contextlib.contextmanager
def _said(name: str) -> Iterator[None]:
    """Say in the log that something could not be observed, and go on."""
    try:
        yield
    except FAILURES as error:
        connections[settings().DATABASE].close()
        log.warning("observing %s: %s", name, describe_failure(error), extra={"context": name})


def _begin(number: int, ticket: Ticket) -> Child:
    """Start the command as `manage.py` would, the monolith's or the service's, with the asker as its actor.

    Raises:
        StrangleError: nothing says how the service's is run.
        OSError: it cannot be started.
    """
    environment = {**os.environ, "STRANGLE_ACTOR": ticket.actor, "PYTHONUNBUFFERED": "1"}
    program = [sys.executable, "-m", "django"]
    if ticket.service:
        program = [word.replace("{actor}", ticket.actor) for word in _program_of(ticket.context)]
        # The service's own manage.py says which settings are its own; these here are the monolith's.
        environment.pop("DJANGO_SETTINGS_MODULE", None)
    directory = Path(tempfile.mkdtemp(prefix="strangle-request-"))
    with (directory / "output").open("wb") as output, (directory / "errors").open("wb") as told:
        process = subprocess.Popen(
            [*program, ticket.command, "--format", "json", *ticket.arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=told,
            start_new_session=True,  # a Ctrl-C at the runner's terminal is the runner's; it tells its children itself
        )
    return Child(request=number, ticket=ticket, process=process, directory=directory)


def _program_of(context: str) -> Sequence[str]:
    program = settings().SERVICE_COMMANDS.get(context)
    if not program:
        raise StrangleError(
            f"MIGRATION_TOOLS['SERVICE_COMMANDS'] does not say how the manage.py of {context!r}'s service is run"
        )
    return program


def _journal(ticket: Ticket, number: int, code: int) -> None:
    """What was done in a service, in the journal of the context: the service has none."""
    move = "sagas" if ticket.command == SAGAS else "dead letters"
    reason = next((each.partition("=")[2] for each in ticket.arguments if each.startswith("--reason=")), "")
    evidence = {"request": number, "arguments": ticket.arguments, "exit_code": code}
    step = f"{ticket.arguments[0]} in the service{'' if code == 0 else ' failed'}"
    record(ticket.context, move, step, evidence, reason, by=ticket.actor)


def _finish(number: int, state: RequestState, *, output: str, exit_code: int | None = None) -> None:
    _requests().filter(pk=number).update(state=state, output=output, exit_code=exit_code, ended_at=timezone.now())


def _requests() -> QuerySet[Request]:
    return Request.objects.using(settings().DATABASE)


def _remove(directory: Path) -> None:
    for each in directory.iterdir():
        each.unlink(missing_ok=True)
    directory.rmdir()
