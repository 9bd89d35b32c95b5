"""The released contracts: files in the repository, `<event>/<version>.json`, changed by nothing but a release."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migration_tools.contracts.declaration import Contract
from migration_tools.errors import ContractError

DIALECT = "https://json-schema.org/draft/2020-12/schema"
OURS = {"$schema", "$id", "title", "description", "x-stream", "x-publishers", "x-rows"}
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, kw_only=True)
class Released:
    """A contract as it was released, and which sides publish it."""

    contract: Contract
    publishers: tuple[str, ...] = field(default=())


def read(directory: Path) -> dict[tuple[str, str], dict[int, Released]]:
    """Every released contract by (stream, event type) and version.

    Raises:
        ContractError: a file is none.
    """
    found: dict[tuple[str, str], dict[int, Released]] = {}
    for path in sorted(directory.glob("*/*.json")):
        if not path.stem.isdigit():
            continue
        document = _load(path)
        try:
            contract = Contract(
                event_type=document["title"],
                stream=document["x-stream"],
                version=int(path.stem),
                schema={name: value for name, value in document.items() if name not in OURS},
                description=document.get("description", ""),
                rows=document.get("x-rows", False),
            )
            publishers = tuple(document["x-publishers"])
        except (KeyError, TypeError) as error:
            raise ContractError(f"{path} is no contract: {error} is missing; take it from version control") from error
        found.setdefault((contract.stream, contract.event_type), {})[contract.version] = Released(
            contract=contract, publishers=publishers
        )
    return found


def golden(directory: Path, event_type: str, since: int) -> list[dict[str, Any]]:
    """Samples of an upcaster: [{"payload": …, "lifted": …}]; empty without a file."""
    path = folder(directory, event_type) / "golden" / f"{since}.json"
    samples = _load(path) if path.exists() else []
    if not isinstance(samples, list) or any(set(each) != {"payload", "lifted"} for each in samples):
        raise ContractError(f"{path} must be a list of objects with 'payload' and 'lifted'")
    return samples


def write(directory: Path, contract: Contract, publishers: tuple[str, ...], *, draft: bool = False) -> Path:
    """Write one contract's file; a draft stands beside the released ones and is not read as one."""
    path = folder(directory, contract.event_type) / f"{contract.version}{'.draft' if draft else ''}.json"
    document = {
        "$schema": DIALECT,
        "$id": f"urn:strangle:{contract.stream}:{contract.event_type}:{contract.version}",
        "title": contract.event_type,
        "description": contract.description,
        "x-stream": contract.stream,
        "x-publishers": sorted(publishers),
        **({"x-rows": True} if contract.rows else {}),
        **contract.schema,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return path


def drafts(directory: Path) -> Iterator[Path]:
    """The drafts that are there."""
    yield from sorted(directory.glob("*/*.draft.json"))


def folder(directory: Path, event_type: str) -> Path:
    """Where an event's files are.

    Raises:
        ContractError: its name cannot be a folder's.
    """
    if not NAME.fullmatch(event_type):
        raise ContractError(f"event type {event_type!r} cannot name a folder; use letters, digits, '.', '_' and '-'")
    return directory / event_type


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ContractError(f"{path} is no JSON; take it from version control") from error
