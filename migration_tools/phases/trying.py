"""Try the functions of a playbook's mappings before a phase relies on them, and say what they cost."""

from collections.abc import Sequence

from migration_tools.capture.models import Side
from migration_tools.capture.transforms import Mapping
from migration_tools.phases.surroundings import Surroundings
from migration_tools.stores.postgres import Connection
from migration_tools.transfer.trial import try_functions


def try_mappings(env: Surroundings, sides: Sequence[Side]) -> list[str]:
    """A sentence for each mapping that has Python in it.

    Raises:
        TransformFailed: a function failed, or did not answer the same to the same.
    """
    return [
        try_mapping(env.connection(side), relation)
        for side in sides
        for relation in env.compiled.side(side).relations
        if relation.kind == "r" and relation.transforms
    ]


def try_mapping(conn: Connection, relation: Mapping) -> str:
    """What Python makes there, and how fast."""
    made = " and ".join(f"{each.column!r} by {each.function!r}" for each in relation.transforms)
    return f"Python makes {made} of {relation.target_table!r}: {try_functions(conn, relation)}."
