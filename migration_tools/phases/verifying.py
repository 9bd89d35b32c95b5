"""Verify as an operator does: compare, keep the result as evidence, repair when told to."""

from migration_tools.capture.models import Side
from migration_tools.errors import StrangleError
from migration_tools.phases.signals import divergence_found
from migration_tools.phases.surroundings import ProgressBar, Surroundings
from migration_tools.state.journal import record
from migration_tools.state.models import Context, Verification
from migration_tools.stores.postgres import connect
from migration_tools.stores.postgres.catalog import estimated_rows
from migration_tools.transfer.copy import whole_relations
from migration_tools.transfer.stops import Ends
from migration_tools.verification.report import TableResult, VerificationReport
from migration_tools.verification.verify import Sides, repair, verify


def run_verification(env: Surroundings) -> VerificationReport:
    """Compare in the owner's direction, and record the (redacted) result as evidence.

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
        sides = Sides(ends=ends, receiver_reader=reader, direction="forward" if sender is Side.SOURCE else "reverse")
        with env.progress(f"compare {env.context}", _rows_to_compare(ends, sides.direction)) as bar:
            report = verify(sides, on_table=lambda table, result: _tell(env, bar, table, result))
    Verification.objects.using(env.playbook.source).create(
        context=env.context,
        direction=report.direction,
        rows=report.rows,
        differences=report.differences,
        report=report.to_json(),
    )
    if not report.equal:
        divergence_found.send_robust(sender=Context, context=env.context, report=report)
    return report


def run_repair(env: Surroundings, report: VerificationReport) -> int:
    """Replace the rows that the report names by the owner's; journalled. Returns how many keys were written.

    Raises:
        StrangleError: the report lists fewer rows than differ, or names rows of the owner itself.
    """
    owner = env.owner(Side.SOURCE)
    sender = owner.owner if owner is not None else Side.SOURCE
    differences = [difference for table in report.tables for difference in table.differences]
    with env.ends(sender, "repair") as ends:
        keys = repair(ends, differences)
    record(
        env.context,
        "verify",
        "repaired",
        {"keys": keys, "by_class": report.by_class},
        str(env.options.get("reason", "")),
    )
    if report.truncated:
        env.say(
            f"{report.truncated} more differences than a report keeps are left; run strangle_verify {env.context} "
            f"--repair again"
        )
    return keys


def _rows_to_compare(ends: Ends, direction: str) -> int:
    """An estimate; the way back, compared when the way forth is equal, doubles what the context itself owns."""
    return sum(
        estimated_rows(ends.sender, relation.source_table) * (2 if relation.owned and direction == "forward" else 1)
        for relation in whole_relations(ends.sender, ends.stream)
    )


def _tell(env: Surroundings, bar: ProgressBar, table: str, result: TableResult | None) -> None:
    if result is None:
        return
    bar.advance(result.rows)
    verdict = "equal" if not result.count else f"{result.count} differences"
    env.say(f"{table}: {result.rows:,} rows, {verdict}")
