"""`?fields=customer,recent_orders.id`: which parts are wanted, and which members of each."""

from collections.abc import Mapping
from typing import Any

from migration_tools.composition.declaration import Composition
from migration_tools.errors import CompositionError

# None: all of the part. A set: these members of it.
Fields = Mapping[str, frozenset[str] | None]


class BadFields(CompositionError):
    """`?fields=` names what there is not; the message is fit for a 400."""


def parse_fields(text: str | None, composition: Composition) -> Fields:
    """Read the parameter; without it, or empty, everything is wanted.

    Raises:
        BadFields: a part that the composition does not have.
    """
    words = [word.strip() for word in (text or "").split(",") if word.strip()]
    if not words:
        return dict.fromkeys(composition.parts)
    wanted: dict[str, frozenset[str] | None] = {}
    for word in words:
        name, _, member = word.partition(".")
        if name not in composition.parts:
            raise BadFields(f"fields has {name[:80]!r}; it may have {sorted(composition.parts)}, also as part.member")
        if not member or (name in wanted and wanted[name] is None):
            wanted[name] = None
        else:
            wanted[name] = (wanted.get(name) or frozenset()) | {member}
    return wanted


def select(value: Any, members: frozenset[str] | None) -> Any:
    """A row, or each row of a list, with the wanted members alone."""
    if members is None:
        return value
    if isinstance(value, list):
        return [select(each, members) for each in value]
    if isinstance(value, dict):
        return {name: member for name, member in value.items() if name in members}
    return value
