"""The one rule of copied fields: each takes the newest version it was told, and a deletion ends all before it; pure.

Note [any order]. Events of one entity may come late, twice and in any order: `updated` before `created`, `created`
after `deleted`. Every event says a version, which its owner drew under the row's lock. The newest version wins field
by field, so an event that carries some fields takes nothing from another that carries others; a deletion is a floor,
and what was said below it is void. Both are maxima, so the order does not matter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of one entity: each living field's version, and the newest deletion's."""

    fields: Mapping[str, int] = field(default_factory=dict)
    floor: int = -1

    @property
    def alive(self) -> bool:
        """Whether anything was said since the last deletion."""
        return bool(self.fields)

    @property
    def newest(self) -> int:
        """The newest version that was taken."""
        return max([self.floor, *self.fields.values()])


def take(known: Known, version: int, values: Mapping[str, Any]) -> tuple[Known, dict[str, Any]]:
    """Take what an event of this version says; returns what is known then, and the values that are news."""
    news = {name: value for name, value in values.items() if version > max(known.floor, known.fields.get(name, -1))}
    return Known(fields={**known.fields, **dict.fromkeys(news, version)}, floor=known.floor), news


def end(known: Known, version: int) -> tuple[Known, bool]:
    """Take a deletion; returns what is known then, and whether it ended a living entity.

    Fields that are newer than the deletion stay: the entity was made anew meanwhile.
    """
    floor = max(known.floor, version)
    living = {name: at for name, at in known.fields.items() if at > floor}
    return Known(fields=living, floor=floor), known.alive and not living
