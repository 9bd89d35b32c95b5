"""Hold a payload against its contract when it is published: what is refused here reaches no consumer."""

import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from migration_tools.contracts.declaration import Contract, declared
from migration_tools.errors import ContractError

if TYPE_CHECKING:
    import jsonschema_rs


def available() -> bool:
    """Whether payloads can be validated here; the system check strangle.W043 says when not."""
    try:
        import jsonschema_rs  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def require(stream: str, event_type: str, version: int, payload: Mapping[str, Any]) -> None:
    """Refuse a payload that is not what its contract declares; events without any contract pass.

    Raises:
        ContractError: it does not fit, or other versions of the event are declared and this one is not.
    """
    versions = declared(stream, event_type)
    if not versions:
        return
    contract = versions.get(version)
    if contract is None:
        raise ContractError(
            f"version {version} of {event_type!r} is not declared, but {sorted(versions)} are; publish one of those or "
            "declare it"
        )
    faults = find_faults(contract, payload) if available() else []
    if faults:
        raise ContractError(
            f"{contract.name!r} is not what its contract says: {'; '.join(faults)}; nothing was published"
        )


def find_faults(contract: Contract, payload: Any) -> list[str]:
    """What is wrong with a payload, each as JSON path and rule: never with its values."""
    return faults_of(json.dumps(contract.schema, sort_keys=True), payload)


def faults_of(schema: str, payload: Any) -> list[str]:
    """The same for a schema as JSON text."""
    found = validator(schema).iter_errors(payload)
    return sorted({f"{json_path(error.instance_path)}: {_rule(list(error.schema_path))}" for error in found})


@functools.lru_cache(maxsize=512)
def validator(schema: str) -> "jsonschema_rs.Validator":
    """A compiled schema, formats included.

    Raises:
        ContractError: it is no JSON Schema.
    """
    import jsonschema_rs

    try:
        return jsonschema_rs.validator_for(json.loads(schema), validate_formats=True)
    except jsonschema_rs.ValidationError as error:
        raise ContractError(f"a contract is no JSON Schema: {error.message}") from error


def json_path(parts: Any) -> str:
    """$.lines[0].quantity"""
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)


def _rule(path: list[str | int]) -> str:
    return str(path[-1]) if path else "schema"
