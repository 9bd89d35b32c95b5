"""What a playbook's author writes: routes and gates of one context, and what is moved of it."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from migration_tools.playbook.invariants import Invariant
from migration_tools.playbook.projection import Projection
from migration_tools.playbook.replicas import Replica


def seconds(number: float) -> dt.timedelta:
    """A duration for gates."""
    return dt.timedelta(seconds=number)


def minutes(number: float) -> dt.timedelta:
    """A duration for gates."""
    return dt.timedelta(minutes=number)


def hours(number: float) -> dt.timedelta:
    """A duration for gates."""
    return dt.timedelta(hours=number)


@dataclass(frozen=True)
class Route:
    """URLs under `path` (whole segments) are answered by the upstream `service` as far as its share has grown."""

    path: str
    service: str = field(kw_only=True)


@dataclass(frozen=True, kw_only=True)
class Gates:
    """Evidence that moves need.

    `max_lag`: age of the oldest fact not yet applied; `clean_verifications`: in a row, without a difference, the last
    one newer than any copy or repair; `soak`: least time in a phase before the next; `quiet`: how long the old tables
    must go unread before the decommission.
    """

    max_lag: dt.timedelta = seconds(2)
    clean_verifications: int = 2
    soak: dt.timedelta = minutes(30)
    quiet: dt.timedelta = seconds(10)


class Playbook:
    """Subclass in a module that MIGRATION_TOOLS['PLAYBOOKS'] names; attributes only, no behaviour.

    `source` and `target` are aliases of settings.DATABASES as the operator's commands see them; `references` are
    projections whose source stays where it is (the service holds a replica); `replicas` go into further stores.
    """

    context: ClassVar[str] = ""
    source: ClassVar[str] = "default"
    target: ClassVar[str] = ""
    projections: ClassVar[Sequence[Projection]] = ()
    references: ClassVar[Sequence[Projection]] = ()
    replicas: ClassVar[Sequence[Replica]] = ()
    routes: ClassVar[Sequence[Route]] = ()
    invariants: ClassVar[Sequence[Invariant]] = ()
    gates: ClassVar[Gates] = Gates()
