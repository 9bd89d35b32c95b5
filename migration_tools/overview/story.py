"""One correlation across the monolith and every service: a story in the order of time, no effect before its cause."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from migration_tools.conf import settings
from migration_tools.errors import StrangleError
from migration_tools.overview.chain import SEARCHED, Link, Place, read_chain
from migration_tools.overview.looking import looking
from migration_tools.playbook.registry import bystanders, load

MONOLITH, SERVICE = "monolith", "service"


@dataclass(frozen=True, kw_only=True)
class Story:
    """What was found of a correlation, and the places that could not be asked, by name, with the reason."""

    correlation: str
    links: list[Link] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    unreachable: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "correlation": self.correlation,
            "links": [each.to_json() for each in self.links],
            "places": self.places,
            "unreachable": self.unreachable,
            "searched": SEARCHED,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        return cls(
            correlation=document["correlation"],
            links=[Link.from_json(each) for each in document["links"]],
            places=list(document["places"]),
            unreachable=dict(document["unreachable"]),
        )


def monolith() -> Place:
    """Where the console runs."""
    return Place(side=MONOLITH, name=MONOLITH, alias=settings().DATABASE)


def service(alias: str) -> Place:
    """A service by its database."""
    return Place(side=SERVICE, name=alias, alias=alias)


def places() -> list[Place]:
    """The monolith, every database that a playbook moves a context to, and those of the bystanders."""
    services = sorted({*(playbook.target for playbook in load().values()), *bystanders()})
    return [monolith(), *(service(alias) for alias in services)]


def follow(correlation: str, asked: Iterable[Place] | None = None) -> Story:
    """Ask each place (default: all) for what a correlation left there; one that does not answer is said, not raised."""
    links: list[Link] = []
    names, unreachable = [], {}
    for place in places() if asked is None else asked:
        try:
            with looking(place.alias) as conn:
                links += read_chain(conn, place, correlation)
            names.append(place.name)
        except StrangleError as error:
            unreachable[place.name] = str(error)
    return Story(correlation=correlation, links=in_order(links), places=names, unreachable=unreachable)


def in_order(links: Iterable[Link]) -> list[Link]:
    """By time; where the clocks of two databases disagree, what was caused by a record comes after that record."""
    waiting = sorted(links, key=lambda each: (each.at, each.place, each.stream, each.position))
    untold = {each.event_id for each in waiting if each.event_id}
    told: list[Link] = []
    while waiting:
        free = (each for each in waiting if each.causation not in untold or each.causation == each.event_id)
        following = next(free, waiting[0])
        waiting.remove(following)
        untold.discard(following.event_id)
        told.append(following)
    return told
