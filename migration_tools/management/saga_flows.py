"""The flow of sagas for `strangle_sagas graph`: what is declared here, joined with other services' files."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from migration_tools.conf import settings
from migration_tools.errors import SagaError
from migration_tools.sagas import choreography, registry
from migration_tools.sagas.flow import Hop, draw, find_faults, from_json, hops, tell, to_json
from migration_tools.sagas.validation import find_mistakes


def flow_result(files: Sequence[Path], *, mermaid: bool) -> dict[str, Any]:
    """The flow as lines and data, with every fault; a flow is taken for whole when files of others are joined."""
    found = hops(choreography.reactions(), settings().SIDE)
    for file in files:
        found += _read(file)
    faults = [asdict(fault) for fault in find_faults(found, whole=bool(files) or _alone(found))]
    mistakes = [asdict(each) for saga in registry.declared() for each in find_mistakes(saga)]
    lines = list(draw(found)) if mermaid else [*_orchestrated(), *tell(found)]
    return {
        "hops": to_json(found),
        "orchestrated": list(_orchestrated()),
        "faults": [*faults, *mistakes],
        "lines": lines,
        "message": "%% drawn" if mermaid else f"{len(found)} reactions, {len(faults) + len(mistakes)} faults",
    }


def _alone(found: Sequence[Hop]) -> bool:
    """Whether all that is taken here is published here too: then nothing of another service is missing."""
    published = {event for each in found for event in (each.emits, each.fails)}
    return all(each.takes in published for each in found if each.takes)


def _read(file: Path) -> list[Hop]:
    try:
        return from_json(json.loads(file.read_text())["hops"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SagaError(f"{str(file)!r} is no flow; make one with strangle_sagas graph --format json") from error


def _orchestrated() -> Iterator[str]:
    for saga in registry.declared():
        words = []
        for place, step in enumerate(saga.steps):
            back = step.compensation or ("undo" if step.undoable else "")
            pivot = " (pivot)" if place == saga.pivot else ""
            words.append(f"{step.name}{pivot}: {step.command or 'here'}{f' / {back}' if step.undoable else ''}")
        yield f"{saga}: " + " → ".join(words)
