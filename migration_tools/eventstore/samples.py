"""Golden samples of upcasters: events as earlier versions stored them, beside what they are read as today."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

from eventsourcing.persistence import StoredEvent

from migration_tools.eventstore.store import OF_THE_LIBRARY, VersionedMapper
from migration_tools.eventstore.values import transcoder

ANYBODY = UUID(int=1)


def read_as(event_type: str, state: dict[str, Any]) -> dict[str, Any]:
    """What an event of this name and stored state is read as today: its class and what it says, as JSON."""
    stored = StoredEvent(
        originator_id=ANYBODY, originator_version=1, topic=event_type, state=json.dumps(state).encode()
    )
    event = VersionedMapper(transcoder()).to_domain_event(stored)
    said = {name: value for name, value in vars(event).items() if name not in OF_THE_LIBRARY}
    return {"class": type(event).__name__, "says": json.loads(transcoder().encode(said))}


def find_differences(directory: Path) -> list[str]:
    """Hold each sample `<event type>/<version>….json` of a directory against its upcasters; sentences of what differs.

    A sample has `state`, as it was stored, and `read_as`. A directory without one is a difference too.
    """
    found = []
    samples = sorted(directory.glob("*/*.json"))
    if not samples:
        found.append(f"there is no sample in {directory.name!r}; store one for each version that was ever stored")
    for path in samples:
        sample = json.loads(path.read_text())
        name = f"{path.parent.name}/{path.name}"
        said = sample["state"].get("class_version", 1)
        if path.stem.partition("-")[0] != str(said):
            found.append(f"{name} holds version {said!r}; name it after that")
        for _ in range(2):
            # Twice: an upcaster that changes what it was given, or anything outside it, shows.
            now = read_as(path.parent.name, json.loads(json.dumps(sample["state"])))
            if now != sample["read_as"]:
                found.append(f"{name} is read as {json.dumps(now)}, not as {json.dumps(sample['read_as'])}")
                break
    return found
