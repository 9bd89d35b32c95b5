"""The other end of a loader: read `?ids=` of a request, bounded, so that an endpoint answers many rows at once."""

from collections.abc import Callable
from typing import TypeVar

from migration_tools.composition.loader import LARGEST_BATCH
from migration_tools.errors import CompositionError

Id = TypeVar("Id")


class BadIds(CompositionError):
    """`?ids=` cannot be read; the message is fit for a 400."""


def parse_ids(text: str, kind: Callable[[str], Id], *, largest: int = LARGEST_BATCH) -> list[Id]:
    """The ids of `?ids=1,2,3`, without repetitions, in order.

    Raises:
        BadIds: one of them is none, or there are too many.
    """
    words = [word for word in text.split(",") if word]
    if len(words) > largest:
        raise BadIds(f"ids names {len(words)} rows; at most {largest} at once")
    try:
        return list(dict.fromkeys(kind(word) for word in words))
    except ValueError:
        raise BadIds(f"ids is {text[:80]!r}; it must be ids separated by commas") from None
