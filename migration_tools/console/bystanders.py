"""What the pages show of services that took nothing over, read from observations alone: their own, and of contexts."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from django.http import Http404
from django.utils import timezone

from migration_tools.conf import settings
from migration_tools.console import reading
from migration_tools.console.drawing import Series
from migration_tools.messaging.groups import PREFIX
from migration_tools.overview.curves import lag_curves
from migration_tools.overview.observing import samples
from migration_tools.playbook.registry import bystanders
from migration_tools.state.models import Observation


@dataclass(frozen=True, kw_only=True)
class Bystander:
    """A service that no playbook names, as it was last seen; it has no phase, and nothing of it is the monolith's."""

    name: str
    document: dict[str, Any]
    at: dt.datetime | None

    moves: ClassVar[bool] = False

    @property
    def title(self) -> str:
        return self.name.replace("_", " ").capitalize()

    @property
    def place(self) -> str:
        return self.name

    @property
    def stale(self) -> bool:
        return self.at is None or (timezone.now() - self.at).total_seconds() > reading.FRESH_SECONDS

    @property
    def parked(self) -> int:
        """How many events wait for somebody."""
        return reading.parked_in_the_service(self)

    @property
    def sagas(self) -> dict[str, int]:
        """Open sagas that it orchestrates, and how many of them ask for somebody."""
        return reading.sagas_of_the_service(self)

    @property
    def standing_still(self) -> list[dict[str, Any]]:
        """What it reads and cannot go on with, with the reason."""
        return [each for each in self.document.get("service", {}).get("inboxes", []) if each["standstill"]]

    @property
    def coming(self) -> None:
        """No phase follows."""

    @property
    def behind(self) -> float | None:
        """Seconds behind the stream that it is furthest behind; None where none was seen to be read."""
        return max((each["seconds"] for _, _, each in _read_by(self.name)), default=None)


Shown = reading.Seen | Bystander


def shown(name: str) -> Shown:
    """A context, or a service beside them.

    Raises:
        Http404: no playbook declares it, and SERVICE_COMMANDS does not name it.
    """
    return bystander(name) if name in bystanders() else reading.seen(name)


def bystander(name: str) -> Bystander:
    """One of them.

    Raises:
        Http404: SERVICE_COMMANDS does not name it, or a playbook does.
    """
    if name not in bystanders():
        raise Http404(f"no service beside the contexts is called {name!r}")
    kept = Observation.objects.using(settings().DATABASE).filter(context=name).first()
    return Bystander(name=name, document=kept.document if kept else {}, at=kept.at if kept else None)


def all_bystanders() -> list[Bystander]:
    """Every one."""
    return [bystander(name) for name in bystanders()]


def lag_series(name: str) -> list[dict[str, Any]]:
    """A curve for each stream of a context that the service reads, as the stream's owner knows it."""
    found = []
    for of, side, each in _read_by(name):
        title = f"{of.name} of the {reading.SIDES[side]}"
        group = each["consumer"].removeprefix(PREFIX).rpartition(" of ")[0]
        curve = lag_curves(samples(of.name, minutes=30)).get(f"{side}:{each['consumer']}", [])
        found.append(
            {
                **each,
                "title": f"{title}, group {group}" if group else title,
                "silent": each["silent_seconds"] > settings().CONSUMER_ALIVE_SECONDS,
                "series": Series(title=f"lag of {title}", values=curve, unit=" s", limit=_limit(of), digits=1),
            }
        )
    return found


def _limit(of: reading.Seen) -> float:
    return of.playbook.gates.max_lag.total_seconds()


def _read_by(name: str) -> Iterator[tuple[reading.Seen, str, dict[str, Any]]]:
    """(context, side that owns the stream, consumer) of everything that a service was seen to read."""
    for of in reading.all_seen():
        for side, status in of.document.get("status", {}).get("sides", {}).items():
            for each in status.get("consumers", []):
                if _is_of(each["consumer"], name):
                    yield of, side, each


def _is_of(consumer: str, name: str) -> bool:
    """Whether it is the service's own consumer, or a group of handlers in it."""
    return consumer == name or (consumer.startswith(PREFIX) and consumer.endswith(f" of {name}"))
