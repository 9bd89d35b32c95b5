"""Examine a context's installation and say what to mend; with --mend, put back what is declared."""

import threading
from typing import Any

from django.core.management.base import CommandParser

from migration_tools.capture.installation import Status, inspect, install
from migration_tools.capture.log_installation import log_findings
from migration_tools.capture.models import Side
from migration_tools.capture.side_doors import side_doors
from migration_tools.errors import HistoryBroken, StrangleError
from migration_tools.management.operation import Operation
from migration_tools.messaging.history import begin_anew, is_broken
from migration_tools.messaging.horizon import horizon
from migration_tools.phases.keeping import take_writes, wrong_with_copies
from migration_tools.phases.machine import operating
from migration_tools.phases.surroundings import Surroundings
from migration_tools.state.journal import phase_of, record
from migration_tools.state.kept import is_kept
from migration_tools.state.phase import Phase

CAPTURED = {Phase.DUAL_WRITE, Phase.BACKFILL, Phase.VERIFY, Phase.SWITCH_READS, Phase.CUTOVER}


class Command(Operation):
    """Exit 0 when nothing is wrong, 1 otherwise."""

    help = "Examine playbook, triggers, fences and old transactions of a context; --mend reinstalls what drifted."
    examples = ("orders", "orders --mend")
    purpose = "doctor"
    can_dry_run = False

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--mend", action="store_true", help="reinstall capture and fence where they are not as declared"
        )

    def operate(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        with self.surroundings(options, stop) as env:
            if options["mend"] and _captured(env):
                with operating(env.source, env.context):
                    for side in (Side.TARGET, Side.SOURCE):
                        install(env.connection(side), env.compiled.side(side), wait=env.wait)
                        begin_anew(env.connection(side), env.context)
                    if is_kept(env.context):
                        take_writes(env)
                    record(env.context, "doctor", "mended")
            warnings = _side_doors(env)
            findings = [*_capture(env), *_histories(env), *_log(env), *_owners(env), *_sessions(env)]
            findings += wrong_with_copies(env)
        if findings:
            found = [*findings, *(f"warning: {each}" for each in warnings)]
            raise StrangleError("found:\n" + "\n".join(f"  - {text}" for text in found))
        message = "\n".join(
            [f"{options['context']!r}: nothing is wrong", *(f"  - warning: {each}" for each in warnings)]
        )
        return {"evidence": {"findings": [], "warnings": warnings}, "message": message}


def _captured(env: Surroundings) -> bool:
    """Whether rows of the context travel: from dual_write to cutover, and after it where the copies are kept."""
    return phase_of(env.context) in CAPTURED or is_kept(env.context)


def _capture(env: Surroundings) -> list[str]:
    if not _captured(env):
        return []
    return [
        f"{finding.object} on the {side.value} is {finding}; run strangle_doctor {env.context} --mend"
        f"{_AFTER[finding.status]}"
        for side in Side
        for finding in inspect(env.connection(side), env.compiled.side(side))
        if finding.status is not Status.INSTALLED
    ]


# What was written while a trigger was away was captured by nobody.
_AFTER = dict.fromkeys(Status, "") | dict.fromkeys(
    (Status.DRIFTED, Status.MISSING), ", then strangle_verify --repair: writes since then may not be captured"
)


def _histories(env: Surroundings) -> list[str]:
    if not _captured(env):
        return []
    return [
        f"on the {side.value} {HistoryBroken(env.context)}"
        for side in Side
        if is_broken(env.connection(side), env.context)
    ]


def _log(env: Surroundings) -> list[str]:
    if not _captured(env):
        return []
    return log_findings(env.connection(Side.SOURCE), env.context)


def _owners(env: Surroundings) -> list[str]:
    owners = {side: env.owner(side) for side in Side}
    found = [side for side, owner in owners.items() if owner is not None and owner.may_write]
    if len(found) > 1:
        return [f"both sides believe they own {env.context!r}; stop the writers and call for help, this must never be"]
    if not found and any(owners.values()):
        return [
            f"nobody owns {env.context!r}: a hand-over was cut off; run strangle_cutover {env.context} (or "
            f"strangle_rollback) again"
        ]
    return []


def _side_doors(env: Surroundings) -> list[str]:
    return [
        f"on the {side.value} {door}; what it reads has no owner that could change it: follow events or ask the "
        "service's API instead"
        for side in Side
        for door in side_doors(env.connection(side))
    ]


def _sessions(env: Surroundings) -> list[str]:
    findings = []
    for side in Side:
        conn = env.connection(side)
        oldest = horizon(conn)
        if oldest is not None and oldest.is_old() and not oldest.ours:
            findings.append(f"on the {side.value} an old transaction keeps rows alive: {oldest}; {oldest.remedy}")
        found = conn.execute(
            "SELECT gid, owner, extract(epoch FROM clock_timestamp() - prepared)::int FROM pg_prepared_xacts "
            "WHERE database = current_database() ORDER BY prepared"
        )
        findings += [
            f"on the {side.value} the prepared transaction {gid!r} of role {owner} waits since {seconds} s and keeps "
            "its locks; COMMIT PREPARED or ROLLBACK PREPARED, by whoever coordinates it"
            for gid, owner, seconds in found
        ]
    return findings
