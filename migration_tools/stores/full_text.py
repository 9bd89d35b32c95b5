"""What is asked of a store that finds rows by words, and what it answers, whatever the engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from migration_tools.stores.ports import Key, Shape


@dataclass(frozen=True, kw_only=True)
class Found:
    """Keys, the best first, how many rows match, and for each facet how many of these have each value."""

    keys: list[Key]
    total: int
    facets: dict[str, dict[str, int]] = field(default_factory=dict)


class FullText(Protocol):
    """The part of a store that searches."""

    def search(
        self,
        shape: Shape,
        words: str = "",
        *,
        within: Sequence[str] = (),
        where: Mapping[str, str | int | bool] | None = None,
        facets: Sequence[str] = (),
        limit: int = 100,
    ) -> Found:
        """Rows that have all the words in some of the columns `within`, and exactly these values; counted by facets.

        Raises:
            StoreError: there is no such index, or no such column.
        """
        ...
