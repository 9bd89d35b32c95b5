"""Write what is declared here into the repository: as drafts to look at, or as released contracts."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from migration_tools.contracts import released as files
from migration_tools.contracts.compatibility import Mode, breaks
from migration_tools.contracts.declaration import Contract
from migration_tools.contracts.released import Released
from migration_tools.errors import ContractError


def write_drafts(here: Iterable[Contract], directory: Path, *, side: str) -> list[Path]:
    """Write a draft of each contract that is not released as it is; older drafts go."""
    known = files.read(directory)
    for path in files.drafts(directory):
        path.unlink()
    return [
        files.write(directory, contract, (side,), draft=True)
        for contract in here
        if not _same(contract, known.get((contract.stream, contract.event_type), {}).get(contract.version))
    ]


def release(here: Iterable[Contract], directory: Path, *, side: str) -> list[Path]:
    """Write the released files of what is declared here; call after a check that found nothing. Drafts go."""
    known = files.read(directory)
    written = []
    for contract in here:
        before = known.get((contract.stream, contract.event_type), {}).get(contract.version)
        publishers = {side, *(before.publishers if before else ())}
        if not _same(contract, before) or before is None or publishers != set(before.publishers):
            written.append(files.write(directory, contract, tuple(publishers)))
    for path in files.drafts(directory):
        path.unlink()
    return written


def number_rows(here: Iterable[Contract], directory: Path, *, mode: Mode, accept: Collection[str]) -> list[Contract]:
    """Give the contracts of rows their numbers: the last released one, or the next where a break is accepted.

    Nobody writes a row's version into code; its table's schema migration is what changes it.

    Raises:
        ContractError: something is accepted that is no contract of rows.
    """
    known = files.read(directory)
    numbered = []
    rows = set()
    for contract in here:
        before = known.get((contract.stream, contract.event_type), {})
        if contract.rows and before:
            rows.add(contract.event_type)
            last = max(before)
            broken = breaks(before[last].contract.schema, contract.schema, mode)
            contract = replace(contract, version=last + 1 if broken and contract.event_type in accept else last)
        numbered.append(contract)
    strangers = sorted(set(accept) - rows)
    if strangers:
        raise ContractError(
            f"{strangers} cannot be accepted; a domain event that changes needs a new version in the code"
        )
    return numbered


def _same(contract: Contract, before: Released | None) -> bool:
    return before is not None and (before.contract.schema, before.contract.description) == (
        contract.schema,
        contract.description,
    )
