"""What the pages show, read from this side's database alone: the last observation, samples, journal, reports."""

import datetime as dt
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from django.apps import apps
from django.db import connections
from django.db.models import Count, Q
from django.http import Http404
from django.utils import timezone

from migration_tools.conf import settings
from migration_tools.console.drawing import Series
from migration_tools.errors import StrangleError
from migration_tools.messaging.groups import SEPARATOR
from migration_tools.messaging.models import DeadLetter
from migration_tools.overview.curves import fence_curve, lag_curves
from migration_tools.overview.observing import samples
from migration_tools.overview.road import read_road
from migration_tools.overview.waiting import read_ended, read_letters, read_sagas
from migration_tools.playbook.declaration import Playbook
from migration_tools.playbook.registry import load
from migration_tools.state.kept import is_kept
from migration_tools.state.models import Context, JournalEntry, Observation, Request, RequestState, Runner
from migration_tools.state.phase import Phase
from migration_tools.verification.report import VerificationReport

FRESH_SECONDS = 15.0
SIDES = {"source": "monolith", "target": "service"}


class Observed(Protocol):
    """A context, or a service beside them, with what was last seen of it."""

    @property
    def name(self) -> str: ...

    @property
    def document(self) -> dict[str, Any]: ...

    @property
    def place(self) -> str:
        """The alias of the service's database."""
        ...

    @property
    def moves(self) -> bool:
        """Whether a playbook moves it, so that the monolith has a side of it too."""
        ...


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A context as it was last seen; without an observation only its phase is known."""

    moves: ClassVar[bool] = True

    playbook: type[Playbook]
    row: Context
    document: dict[str, Any]
    at: dt.datetime | None

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def title(self) -> str:
        return self.row.name.replace("_", " ").capitalize()

    @property
    def place(self) -> str:
        return self.playbook.target

    @property
    def phase(self) -> str:
        return str(self.row.phase).replace("_", " ")

    @property
    def copied(self) -> bool:
        """Whether there are two sides to compare: from the backfill on."""
        return Phase(self.row.phase) not in {Phase.MONOLITH_ONLY, Phase.DUAL_WRITE}

    @property
    def since(self) -> dt.datetime | None:
        """When it entered its phase; None before its first move."""
        return None if self.row._state.adding else self.row.since

    @property
    def stale(self) -> bool:
        return self.at is None or (timezone.now() - self.at).total_seconds() > FRESH_SECONDS

    @property
    def road(self) -> list[dict[str, Any]]:
        """The stations; an observation of an earlier phase is not shown for the present one."""
        if self.document and self.document["status"]["phase"] == self.row.phase:
            return list(self.document["road"])
        return read_road(Phase(self.row.phase), [], kept=self.kept)

    @property
    def kept(self) -> bool:
        """Whether it has come to its end with the old tables as copies that follow."""
        return is_kept(self.name)

    @property
    def coming(self) -> dict[str, Any] | None:
        """The next station."""
        return next((each for each in self.road if each["standing"] == "next"), None)

    @property
    def owner(self) -> str:
        """The side that may write the context now: the system of record."""
        known = self.document.get("status", {}).get("owner")
        return SIDES.get(known, "monolith") if known else "monolith"

    @property
    def epoch(self) -> int | None:
        sides = self.document.get("status", {}).get("sides", {})
        epoch = sides.get("source", {}).get("epoch")
        return int(epoch) if epoch is not None else None


def seen(context: str) -> Seen:
    """One context.

    Raises:
        Http404: no playbook declares it.
    """
    known = load()
    if context not in known:
        raise Http404(f"no playbook declares {context!r}")
    return _seen(known[context])


def all_seen() -> list[Seen]:
    """Every context that a playbook declares."""
    return [_seen(playbook) for playbook in load().values()]


def _seen(playbook: type[Playbook]) -> Seen:
    alias = settings().DATABASE
    row = Context.objects.using(alias).filter(name=playbook.context).first() or Context(
        name=playbook.context, phase=Phase.MONOLITH_ONLY.value
    )
    kept = Observation.objects.using(alias).filter(context=playbook.context).first()
    return Seen(playbook=playbook, row=row, document=kept.document if kept else {}, at=kept.at if kept else None)


def runner_heard() -> dt.datetime | None:
    """When the process that observes and carries out requests was last heard of; None when it is silent."""
    row = Runner.objects.using(settings().DATABASE).first()
    if row is None or (timezone.now() - row.seen_at).total_seconds() > FRESH_SECONDS:
        return None
    return row.seen_at


def lag_series(of: Seen) -> list[dict[str, Any]]:
    """A curve a consumer, with what is known of it now."""
    limit = of.playbook.gates.max_lag.total_seconds()
    curves = lag_curves(samples(of.name, minutes=30))
    found = []
    for side, name in SIDES.items():
        status = of.document.get("status", {}).get("sides", {}).get(side, {})
        for each in status.get("consumers", []):
            title = f"{name} → {each['consumer']}"
            found.append(
                {
                    **each,
                    "title": title,
                    "silent": each["silent_seconds"] > settings().CONSUMER_ALIVE_SECONDS,
                    "series": Series(
                        title=f"lag of {title}",
                        values=curves.get(f"{side}:{each['consumer']}", []),
                        unit=" s",
                        limit=limit,
                        digits=1,
                    ),
                }
            )
    return found


def fence_series(of: Seen) -> Series:
    """Refused writes of the last half hour."""
    return Series(title="writes refused by the fence", values=fence_curve(samples(of.name, minutes=30)))


def cutovers(context: str) -> list[dict[str, Any]]:
    """Every hand-over that was made, the newest first, with the pause that was measured."""
    rows = JournalEntry.objects.using(settings().DATABASE).filter(context=context, step="handed_over").order_by("-id")
    return [{"entry": row, "back": row.move.startswith("undo"), **row.evidence} for row in rows[:50]]


def sagas(context: str) -> dict[str, Any] | None:
    """How many sagas of the context this side orchestrates stand where, and those that ask for somebody."""
    if not apps.is_installed("migration_tools.sagas"):
        return None
    from migration_tools.sagas.models import SagaState

    rows = SagaState.objects.using(settings().DATABASE).filter(context=context)
    counts = {each["status"]: each["found"] for each in rows.values("status").annotate(found=Count("saga_id"))}
    stuck = rows.exclude(alarm="").order_by("alarm_at")[:5]
    return {"counts": dict(sorted(counts.items())), "stuck": list(stuck)} if counts else None


def sagas_of_the_service(of: Observed) -> dict[str, int]:
    """How many it had open when it was observed, and how many of them ask for somebody; {} for none."""
    found = of.document.get("service", {}).get("sagas") or []
    return {"open": len(found), "stuck": sum(bool(each["saga"]["why"]) for each in found)} if found else {}


def parked(of: Seen) -> dict[str, int]:
    """How many events are parked on each side that has any."""
    mine = Q(stream=of.name) | Q(stream__startswith=f"{of.name}{SEPARATOR}")
    here = DeadLetter.objects.using(settings().DATABASE).filter(mine).count()
    there = parked_in_the_service(of)
    return {side: count for side, count in (("monolith", here), ("service", there)) if count}


def parked_in_the_service(of: Observed) -> int:
    """How many events were parked there when it was observed."""
    return len(of.document.get("service", {}).get("letters", []))


@dataclass(frozen=True, kw_only=True)
class SideShown:
    """One side's things that wait for somebody; `found` is None where it keeps none, or was not seen.

    `commands` says whether they can be settled from here, `service` whether by the service's own manage.py.
    """

    name: str
    service: bool
    seen: bool
    commands: bool
    found: list[dict[str, Any]] | None
    ended: list[dict[str, Any]]


def letters(of: Observed) -> list[SideShown]:
    """Parked events of the monolith that are the context's, and all that the service's database holds."""
    if not of.moves:
        return [_service_of(of, "letters")]
    conn = connections[settings().DATABASE]
    here = SideShown(
        name="monolith",
        service=False,
        seen=True,
        commands=True,
        found=read_letters(conn, of.name),
        ended=read_ended(conn, of.name),
    )
    return [here, _service_of(of, "letters")]


def open_sagas(of: Observed) -> list[SideShown]:
    """Open sagas that the monolith orchestrates for the context, and those of the service."""
    if not of.moves:
        return [_service_of(of, "sagas")]
    alias = settings().DATABASE
    kept = apps.is_installed("migration_tools.sagas")
    found = read_sagas(connections[alias], alias, of.name) if kept else None
    here = SideShown(name="monolith", service=False, seen=True, commands=True, found=found, ended=[])
    return [here, _service_of(of, "sagas")]


def _service_of(of: Observed, what: str) -> SideShown:
    """As it was last observed: this process may not see the service's database."""
    known = of.document.get("service", {})
    return SideShown(
        name=known.get("place", of.place),
        service=True,
        seen=bool(known),
        commands=bool(known.get("commands")),
        found=known.get(what),
        ended=known.get("ended", []),
    )


def report_of(document: dict[str, Any]) -> VerificationReport | None:
    """A stored report; None when it is of a version that cannot be read any more."""
    try:
        return VerificationReport.from_json(document)
    except StrangleError:
        return None


def open_requests(context: str) -> list[Request]:
    """What was asked for and is not done."""
    states = [RequestState.WAITING, RequestState.RUNNING]
    rows = Request.objects.using(settings().DATABASE).filter(context=context, state__in=states)
    return list(rows.order_by("id"))


def unreachable(of: Observed) -> list[str]:
    """What could not be seen, in sentences."""
    sides = of.document.get("status", {}).get("sides", {})
    found = [side["unreachable"] for side in sides.values() if "unreachable" in side]
    problem = of.document.get("problem", "")
    return found + ([problem] if problem and problem not in found else [])
