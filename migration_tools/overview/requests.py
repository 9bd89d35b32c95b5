"""Ask for a command from a web page: signed by whoever was allowed to ask, carried out by the operator's own process.

Note [tickets]. The web process may neither see both databases nor move a context: it writes down what is wanted, in a
ticket signed with SECRET_KEY. The runner believes the ticket alone, so whoever can only write into the table (an SQL
injection) can start nothing; a ticket is believed once, for a few minutes, by its nonce.
"""

import datetime as dt
import secrets
import shlex
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.core import signing
from django.utils import timezone

from migration_tools.conf import settings
from migration_tools.errors import StrangleError, WrongPhase
from migration_tools.phases.machine import COMMANDS
from migration_tools.sagas.reading import overview
from migration_tools.state.models import Context, Observation, Request, RequestState
from migration_tools.state.phase import BACKWARD, FORWARD, Phase

SALT = "migration_tools.overview.requests"
BELIEVED_SECONDS = 300
STOP = "stop"
SAGAS = "strangle_sagas"
LETTERS = "strangle_dead_letters"
CHAIN = "strangle_chain"
RUNNABLE = frozenset({*COMMANDS.values(), "strangle_rollback", LETTERS, SAGAS, CHAIN, STOP})
#: What may be asked of a service's own manage.py; see SERVICE_COMMANDS.
OF_SERVICES = frozenset({LETTERS, SAGAS})
#: A look for a chain concerns no context; so many may wait, and an answer is kept so long.
NO_CONTEXT = ""
LOOKS_WAITING = 10
LOOK_KEPT = dt.timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A command with its arguments; `phrase` is what a person types to confirm it, '' where nothing changes.

    `service`: the service's manage.py is to run it, whose handlers and sagas it is about, not the monolith's.
    """

    context: str
    command: str
    arguments: tuple[str, ...] = ()
    title: str
    phrase: str = ""
    service: bool = False

    @property
    def line(self) -> str:
        """The same at a terminal."""
        return f"manage.py {self.command} {shlex.join(self.arguments)}"


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """What the runner was asked for, after its signature was found good."""

    context: str
    command: str
    arguments: list[str] = field(default_factory=list)
    actor: str
    nonce: str
    service: bool = False


def forward(row: Context, *, percent: float | None = None, reason: str = "") -> Wanted:
    """The move to the next phase, or its completion when it was cut off.

    Raises:
        WrongPhase: there is no next phase.
    """
    following = FORWARD.get(Phase(row.phase))
    if following is None:
        raise WrongPhase(f"{row.name!r} is in phase {row.phase!r}; there is no step after it")
    arguments = [row.name]
    if following is Phase.SWITCH_READS:
        arguments += ["--percent", f"{100 if percent is None else percent:g}"]
    words = following.value.replace("_", " ")
    return Wanted(
        context=row.name,
        command=COMMANDS[following],
        arguments=(*arguments, *_reason(reason)),
        title=f"move {row.name} to {words}",
        phrase=f"{words} {row.name}",
    )


def back(row: Context, *, reason: str = "") -> Wanted:
    """The step back, or the undoing of a move that was cut off.

    Raises:
        WrongPhase: there is nothing to undo.
    """
    if row.move is None and Phase(row.phase) not in BACKWARD:
        raise WrongPhase(f"{row.name!r} is in phase {row.phase!r}; there is nothing to roll back")
    return Wanted(
        context=row.name,
        command="strangle_rollback",
        arguments=(row.name, *_reason(reason)),
        title=f"roll {row.name} back",
        phrase=f"roll back {row.name}",
    )


def share(row: Context, percent: float, *, reason: str = "") -> Wanted:
    """Another share of the reads while the context is in switch_reads.

    Raises:
        WrongPhase: it is in another phase, or the share is none.
    """
    if Phase(row.phase) is not Phase.SWITCH_READS or not 0 <= percent <= 100:
        raise WrongPhase(f"{row.name!r} is in phase {row.phase!r} and {percent:g} % were asked for; shares of 0 to 100")
    return Wanted(
        context=row.name,
        command=COMMANDS[Phase.SWITCH_READS],
        arguments=(row.name, "--percent", f"{percent:g}", *_reason(reason)),
        title=f"{percent:g} % of the reads of {row.name} to the service",
        phrase=f"reads {row.name}",
    )


def verification(row: Context) -> Wanted:
    """A comparison of both sides; changes nothing but in phase backfill, whose next phase it enters."""
    enters = FORWARD.get(Phase(row.phase)) is Phase.VERIFY
    return Wanted(
        context=row.name,
        command=COMMANDS[Phase.VERIFY],
        arguments=(row.name,),
        title=f"verify {row.name}",
        phrase=f"verify {row.name}" if enters else "",
    )


def wish(context: str, what: str, *, reason: str = "") -> Wanted:
    """Pause, resume or cancel the copy."""
    if what not in {"pause", "resume", "cancel"}:
        raise StrangleError(f"a copy can be paused, resumed or cancelled, not {what!r}")
    return Wanted(
        context=context,
        command="strangle_backfill",
        arguments=(context, f"--{what}", *_reason(reason)),
        title=f"{what} the copy of {context}",
        phrase=f"{what} {context}",
    )


def letter(
    context: str,
    *,
    stream: str = "",
    group: str = "",
    key: str = "",
    position: int | None = None,
    event: str = "",
    reason: str,
    service: bool = False,
) -> Wanted:
    """Handle a key's parked events again, or give the one at a position up; a reason is needed for that.

    Args:
        stream: whose events (default: the context's); `group`: whose handlers, if not the side's own consumer's.
        event: the id that was seen; the command refuses when another event is there now.
        service: they are parked in the service.

    Raises:
        StrangleError: an event is to be given up without a reason.
    """
    place = (stream or context, *((f"--group={group}",) if group else ()), *((f"--event={event}",) if event else ()))
    where = " in the service" if service else ""
    if position is None:
        return Wanted(
            context=context,
            command=LETTERS,
            arguments=("replay", *place, f"--key={key}", *_reason(reason)),
            title=f"replay {key}{where}",
            phrase=f"replay {key}{where}",
            service=service,
        )
    if not reason.strip():
        raise StrangleError("an event is given up with a reason only: its effect is lost")
    return Wanted(
        context=context,
        command=LETTERS,
        arguments=("skip", *place, f"--position={position}", *_reason(reason)),
        title=f"give up event {position}{where}",
        phrase=f"give up {position}{where}",
        service=service,
    )


def saga(context: str, saga_id: str, what: str, *, reason: str = "", service: bool = False) -> Wanted:
    """Try a saga's step again at once, or turn it back; a reason is needed for that.

    Raises:
        StrangleError: that side orchestrates no such saga of the context, or there is no reason to undo it.
    """
    kind = _saga_of_the_service(context, saga_id) if service else _saga_of_the_monolith(context, saga_id)
    where = " in the service" if service else ""
    if not kind:
        raise StrangleError(
            f"the {'service' if service else 'monolith'} orchestrates no saga {saga_id!r} of {context!r}"
        )
    if what == "compensate" and not reason.strip():
        raise StrangleError("a saga is undone with a reason only: what was done is taken back")
    return Wanted(
        context=context,
        command=SAGAS,
        arguments=(what, saga_id, *_reason(reason)),
        title=f"{what} {kind} {saga_id[:8]}{where}",
        phrase=f"{what} {saga_id[:8]}{where}",
        service=service,
    )


def _saga_of_the_monolith(context: str, saga_id: str) -> str:
    found = overview(settings().DATABASE, saga_id) if apps.is_installed("migration_tools.sagas") else None
    return found.saga if found is not None and found.context == context else ""


def _saga_of_the_service(context: str, saga_id: str) -> str:
    """As it was last observed: the web process cannot look itself."""
    seen = Observation.objects.using(settings().DATABASE).filter(context=context).first()
    known = (seen.document.get("service", {}).get("sagas") or []) if seen else []
    return next((str(each["saga"]["saga"]) for each in known if each["saga"]["saga_id"] == saga_id), "")


def stop(context: str, request: int) -> Wanted:
    """Tell a command that runs to save its checkpoint and end."""
    return Wanted(context=context, command=STOP, arguments=(str(request),), title=f"stop request {request}")


def ask(wanted: Wanted, *, actor: str) -> Request:
    """Write it down for the runner; the caller has checked who asks and what was typed.

    Raises:
        StrangleError: something else of the context was asked for and is not done.
    """
    rows = Request.objects.using(settings().DATABASE)
    # A move may wait for the very saga that is to be settled.
    if wanted.command not in {STOP, SAGAS} and "--" not in "".join(wanted.arguments[1:2]):
        busy = rows.filter(context=wanted.context, state__in=[RequestState.WAITING, RequestState.RUNNING]).first()
        if busy is not None:
            raise StrangleError(f"request {busy.pk} ({busy.title}) is not done; wait for it, or stop it")
    return _write(wanted, actor)


def look(correlation: str, *, actor: str) -> Request:
    """Ask the runner, which sees every side, for a chain; one that waits already is enough.

    Raises:
        StrangleError: too many wait.
    """
    title = f"look for {correlation}"
    rows = Request.objects.using(settings().DATABASE).filter(context=NO_CONTEXT)
    waiting = rows.filter(state__in=[RequestState.WAITING, RequestState.RUNNING])
    if (same := waiting.filter(title=title).first()) is not None:
        return same
    if waiting.count() >= LOOKS_WAITING:
        raise StrangleError(f"{LOOKS_WAITING} looks for other chains wait; try again when they are done")
    return _write(Wanted(context=NO_CONTEXT, command=CHAIN, arguments=("--", correlation), title=title), actor)


def looked(correlation: str) -> Request | None:
    """The newest look for a chain, whatever became of it."""
    rows = Request.objects.using(settings().DATABASE).filter(context=NO_CONTEXT, title=f"look for {correlation}")
    return rows.order_by("-id").first()


def forget_looks() -> None:
    """Remove answers to looks that are old; for the runner, which alone may."""
    old = timezone.now() - LOOK_KEPT
    Request.objects.using(settings().DATABASE).filter(context=NO_CONTEXT, made_at__lt=old).delete()


def _write(wanted: Wanted, actor: str) -> Request:
    nonce = secrets.token_urlsafe(18)
    said = {
        "context": wanted.context,
        "command": wanted.command,
        "arguments": list(wanted.arguments),
        "actor": actor,
        "nonce": nonce,
        "service": wanted.service,
    }
    return Request.objects.using(settings().DATABASE).create(
        context=wanted.context,
        ticket=signing.dumps(said, salt=SALT),
        nonce=nonce,
        title=wanted.title,
        actor=actor,
    )


def believe(row: Request) -> Ticket:
    """What a request's ticket says.

    Raises:
        StrangleError: it is not ours, too old, another row's, or of a command that is not for requests.
    """
    try:
        said: dict[str, Any] = signing.loads(row.ticket, salt=SALT, max_age=BELIEVED_SECONDS)
    except signing.SignatureExpired:
        raise StrangleError(
            f"it waited longer than {BELIEVED_SECONDS} s for a runner and is no longer believed; ask again"
        ) from None
    except signing.BadSignature:
        raise StrangleError("its signature is not that of this project's SECRET_KEY; nothing was done") from None
    ticket = Ticket(**said)
    if ticket.nonce != row.nonce or ticket.command not in (OF_SERVICES if ticket.service else RUNNABLE):
        raise StrangleError("its ticket belongs to another request; nothing was done")
    return ticket


def _reason(reason: str) -> tuple[str, ...]:
    return (f"--reason={reason.strip()}",) if reason.strip() else ()
