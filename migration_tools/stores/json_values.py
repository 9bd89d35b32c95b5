"""Values as JSON keeps them: integers and booleans are JSON's own, everything else is PostgreSQL's text, so exact."""

from migration_tools.stores.canonical import Kind, canonical
from migration_tools.stores.ports import Column


def to_json(column: Column, value: str | None) -> object:
    """What JSON keeps of PostgreSQL's text of a value."""
    if value is None:
        return None
    if column.kind is Kind.INTEGER:
        return int(value)
    return value == "true" if column.kind is Kind.BOOLEAN else value


def from_json(column: Column, value: object) -> str | None:
    """Canonical text of a JSON value; one of another type than is written gets text that no value has."""
    if value is None:
        return None
    kind = {Kind.INTEGER: int, Kind.BOOLEAN: bool}.get(column.kind, str)
    if type(value) is not kind:
        return f"(JSON {type(value).__name__}) {value!r}"
    return canonical_or_foreign(column, str(value).lower() if kind is bool else str(value))


def canonical_or_foreign(column: Column, text: str | None) -> str | None:
    """Canonical text of a text; what somebody wrote that is no number gets text that no value has."""
    try:
        return canonical(column.kind, text)
    except ValueError:
        return f"(no number) {text}"
