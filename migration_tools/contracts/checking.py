"""Hold what is declared here against what was released: breaks, gaps, upcasters without proof."""

import copy
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from migration_tools.contracts import released as files
from migration_tools.contracts.compatibility import Mode, breaks
from migration_tools.contracts.declaration import Contract
from migration_tools.contracts.released import Released
from migration_tools.contracts.upcasting import Lift, impurities, upcasters
from migration_tools.contracts.validation import faults_of, validator


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a release would break: event, version, JSON path, rule, and a sentence."""

    event: str
    version: int
    path: str
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.event} {self.version} {self.path}: {self.rule}: {self.message}"


Versions = Mapping[int, Contract]


def check(here: Iterable[Contract], directory: Path, *, mode: Mode, side: str) -> list[Finding]:
    """Everything that stands against a release of what is declared here."""
    known = files.read(directory)
    declared: dict[tuple[str, str], dict[int, Contract]] = {}
    for contract in here:
        declared.setdefault((contract.stream, contract.event_type), {})[contract.version] = contract
    found: list[Finding] = []
    for key in sorted(known.keys() | declared.keys()):
        versions, before = declared.get(key, {}), known.get(key, {})
        found += _check_streams(key, versions, known)
        found += _check_removed(versions, before, side)
        found += _check_versions(versions, before, mode)
        if versions and not any(contract.rows for contract in versions.values()):
            found += _check_chain(key, versions, before, directory)
    return found


def _check_streams(
    key: tuple[str, str], versions: Versions, known: Mapping[tuple[str, str], Mapping[int, Released]]
) -> Iterator[Finding]:
    stream, event_type = key
    others = [other for other, name in known if name == event_type and other != stream]
    if versions and others:
        yield Finding(
            event=event_type,
            version=max(versions),
            path="$",
            rule="stream",
            message=f"was released for stream {others[0]!r} and is declared for {stream!r}; give it another name",
        )


def _check_removed(versions: Versions, before: Mapping[int, Released], side: str) -> Iterator[Finding]:
    """The newest version that this side released must still be declared; older ones may be given up."""
    ours = [number for number, each in before.items() if side in each.publishers]
    if ours and max(versions, default=0) < max(ours):
        contract = before[max(ours)].contract
        yield Finding(
            event=contract.event_type,
            version=contract.version,
            path="$",
            rule="removed",
            message=f"is released by {side!r} and declared no more; declare it, or delete its files if nobody reads it",
        )


def _check_versions(versions: Versions, before: Mapping[int, Released], mode: Mode) -> Iterator[Finding]:
    last = max(before, default=0)
    for number, contract in sorted(versions.items()):
        validator(json.dumps(contract.schema))
        if number in before:
            for each in breaks(before[number].contract.schema, contract.schema, mode):
                yield Finding(
                    event=contract.event_type,
                    version=number,
                    path=each.path,
                    rule=f"{each.mode.value}/{each.rule}",
                    message=each.message,
                )
        elif number < last or any(n not in before and n not in versions for n in range(1, number)):
            yield Finding(
                event=contract.event_type,
                version=number,
                path="$",
                rule="number",
                message=f"the last released version is {last}; declare {last + 1}",
            )


def _check_chain(
    key: tuple[str, str], versions: Versions, before: Mapping[int, Released], directory: Path
) -> Iterator[Finding]:
    """From each version that may be in a stream to the newest one leads an upcaster, and samples prove it."""
    stream, event_type = key
    everything = {number: each.contract for number, each in before.items()} | dict(versions)
    steps = upcasters(stream, event_type)
    for since in range(min(everything), max(everything)):
        if since not in steps:
            yield _finding(event_type, since, "upcaster", f"nothing lifts it to {since + 1}; write one with @upcasts")
            continue
        samples = files.golden(directory, event_type, since)
        if not samples:
            path = f"{event_type}/golden/{since}.json"
            yield _finding(event_type, since, "golden", f"its upcaster has no sample; write one in {path}")
        for number, sample in enumerate(samples):
            for fault in _faults(steps[since], sample, everything.get(since), everything.get(since + 1)):
                yield _finding(event_type, since, "golden", f"sample {number}: {fault}")


def _faults(step: Lift, sample: dict[str, dict[str, object]], old: Contract | None, new: Contract | None) -> list[str]:
    payload, wanted = sample["payload"], sample["lifted"]
    found = []
    if old is not None:
        found += [f"its payload is none of the old version ({fault})" for fault in _against(old, payload)]
    try:
        lifted = step(copy.deepcopy(payload))
        found += impurities(step, payload)
    except Exception as error:
        return [*found, f"the upcaster raises {type(error).__name__}"]
    if lifted != wanted:
        found.append("the upcaster answers something else")
    if new is not None:
        found += [f"what comes out is none of the new version ({fault})" for fault in _against(new, lifted)]
    return found


def _against(contract: Contract, payload: object) -> list[str]:
    return faults_of(json.dumps(contract.schema, sort_keys=True), payload)


def _finding(event_type: str, version: int, rule: str, message: str) -> Finding:
    return Finding(event=event_type, version=version, path="$", rule=rule, message=message)
