"""Verify as an operator does: compare, resume what was cut off, keep the result as evidence."""

from collections.abc import Iterator
from contextlib import contextmanager

from migration_tools.capture.models import Side
from migration_tools.conf import settings
from migration_tools.errors import StrangleError
from migration_tools.kernel.watch import ProgressBar
from migration_tools.phases.gates import last_change
from migration_tools.phases.signals import divergence_found
from migration_tools.phases.surroundings import Surroundings
from migration_tools.state.models import Context, Verification
from migration_tools.stores.postgres import connect
from migration_tools.transfer.copy import whole_relations
from migration_tools.transfer.functions import processes
from migration_tools.transfer.stops import Ends
from migration_tools.verification.ledger import DatabaseLedger
from migration_tools.verification.report import VerificationReport
from migration_tools.verification.verify import Sides, declaration_of, verify
from migration_tools.verification.walk import BACK, INVARIANT, RangeResult, planned_rows


def run_verification(env: Surroundings, *, restart: bool = False) -> tuple[VerificationReport, Verification]:
    """Compare in the owner's direction, and record the (redacted) result as evidence.

    A run that was cut off is resumed, unless rows were changed by us since it began, or `restart` is asked for.

    Raises:
        StrangleError: no capture is installed, so there is no instant at which the sides could be equal.
    """
    with sides_of(env) as sides, processes(settings().TRANSFORM_WORKERS):
        _tell_slower(env, sides.ends)
        ledger = DatabaseLedger.open(
            env.playbook.source,
            context=env.context,
            direction=sides.direction,
            declaration=declaration_of(sides.ends),
            changed_at=last_change(env),
            restart=restart,
        )
        if ledger.resumed:
            env.say(f"resuming: {ledger.resumed} ranges were compared before")
        with env.progress(f"compare {env.context}", _rows_to_compare(sides.ends, sides.direction)) as bar:
            report = verify(
                sides,
                invariants=env.compiled.invariants,
                ledger=ledger,
                on_range=lambda found: _tell(env, bar, found),
                heed=env.heed,
                rows_at_most=env.options.get("range_rows"),
            )
    kept = ledger.complete(report)
    if not report.equal:
        divergence_found.send_robust(sender=Context, context=env.context, report=report)
    return report, kept


@contextmanager
def sides_of(env: Surroundings) -> Iterator[Sides]:
    """Connections for the owner's direction.

    Raises:
        StrangleError: no capture is installed, so there is no instant at which the sides could be equal.
    """
    owner = env.owner(Side.SOURCE)
    if owner is None:
        raise StrangleError(
            f"{env.context!r} is not captured, so its sides cannot be compared; run strangle_dual_write "
            f"{env.context} first"
        )
    sender = owner.owner
    with env.ends(sender, "verify") as ends, connect(env.alias(sender.other), "verify reader") as reader:
        yield Sides(ends=ends, receiver_reader=reader, direction="forward" if sender is Side.SOURCE else "reverse")


def _tell_slower(env: Surroundings, ends: Ends) -> None:
    for conn in (ends.sender, ends.receiver):
        for relation in whole_relations(conn, ends.stream):
            if relation.transforms:
                made = ", ".join(repr(each.column) for each in relation.transforms)
                env.say(
                    f"Python makes {made} of {relation.target_table!r}, so its rows are mapped here and not where they "
                    "are: the slower path"
                )


def _rows_to_compare(ends: Ends, direction: str) -> int:
    """An estimate; the way back, compared when the way forth is equal, doubles what the context itself owns."""
    return sum(
        planned_rows(ends.sender, relation) * (2 if relation.owned and direction == "forward" else 1)
        for relation in whole_relations(ends.sender, ends.stream)
    )


def _tell(env: Surroundings, bar: ProgressBar, found: RangeResult) -> None:
    bar.advance(found.result.rows)
    verdict = "equal" if not found.result.count else f"{found.result.count} differences"
    if found.way == INVARIANT:
        holds = "holds" if not found.result.count else f"broken: {found.result.count}"
        env.say(f"{found.result.projection}: {holds}")
        return
    way = " (the way back)" if found.way == BACK else ""
    more = f", up to key {'/'.join(found.upto)}" if found.upto is not None else ""
    env.say(f"{found.table}{way}: {found.result.rows:,} rows{more}, {verdict}")
