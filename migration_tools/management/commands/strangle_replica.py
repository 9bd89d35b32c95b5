"""Keep a context's rows in further stores: copy, sync, verify, status, drop."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings as django_settings
from django.core.management.base import CommandParser

from migration_tools.errors import Interrupted, PlaybookError, SettingsError, TransferError
from migration_tools.management.operation import Operation
from migration_tools.messaging.stream import head
from migration_tools.playbook.declaration import Playbook
from migration_tools.playbook.registry import get
from migration_tools.playbook.replicas import Replica, find_replica_mistakes
from migration_tools.state.journal import phase_of, record
from migration_tools.stores.opening import nearest
from migration_tools.transfer.replica_copy import copy_replica
from migration_tools.transfer.replica_sync import Sync, following, run_all
from migration_tools.transfer.replicas import Follower, refuse_other_owner
from migration_tools.verification.replicas import compare_replica, repair_replica
from migration_tools.verification.report import TableResult, VerificationReport
from migration_tools.verification.writing import write_or_tell

ACTIONS = ("copy", "sync", "verify", "status", "drop")


class Command(Operation):
    """Beside the phases: a replica owns nothing, so nothing waits for it and it can be dropped at will."""

    help = "Keep the context's replicas: copy history, sync until told to stop, verify (exit 3 when they differ), drop."
    examples = ("orders copy", "orders verify")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("action", choices=ACTIONS, help="what to do with the replicas")
        parser.add_argument("--only", metavar="NAME", help="one replica, as store.into (default: all of the playbook)")
        parser.add_argument("--restart", action="store_true", help="copy: drop what is there and begin anew")
        parser.add_argument("--once", action="store_true", help="sync: up to the stream's present end, then stop")
        parser.add_argument(
            "--repair", action="store_true", help="verify: write the source's rows over those that differ"
        )
        parser.add_argument("--directory", help="verify: where reports go (default var/reports/<context>/replicas)")

    def operate(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        playbook = get(options["context"])
        mistakes = find_replica_mistakes(playbook.replicas, (*playbook.projections, *playbook.references))
        if mistakes:
            raise PlaybookError(playbook.context, mistakes)
        replicas = _chosen(playbook, options["only"])
        action: str = options["action"]
        if options["dry_run"] and action != "status":
            return self._outcome(playbook, [], "nothing was touched", plan=[_plan(action, each) for each in replicas])
        if action == "sync" and not options["once"]:
            run_all([Sync(playbook.source, playbook.context, each) for each in replicas], stop)
            return self._outcome(playbook, [], "stopped; what is applied is kept")
        if action == "verify":
            return self._verify(playbook, replicas, options)
        work: dict[str, Callable[[Follower], dict[str, Any]]] = {
            "copy": lambda follower: self._copy(follower, options, stop),
            "sync": _apply,
            "status": _describe,
            "drop": lambda follower: self._drop(follower, options["reason"]),
        }
        found = []
        for replica in replicas:
            with following(playbook.source, playbook.context, replica) as follower:
                found.append({"replica": replica.name} | work[action](follower))
        lines = ["  ".join(f"{name}={value}" for name, value in each.items()) for each in found]
        return self._outcome(playbook, found, f"{action}: {len(found)} replicas of {playbook.context!r}", lines=lines)

    def _outcome(
        self, playbook: type[Playbook], found: list[dict[str, Any]], message: str, **more: Any
    ) -> dict[str, Any]:
        evidence = {"replicas": found}
        return {"evidence": evidence, "message": message, "phase_after": phase_of(playbook.context).value} | more

    def _copy(self, follower: Follower, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        refuse_other_owner(follower.sender, follower.bound)
        if options["restart"]:
            follower.forget()

        def heed() -> None:
            if stop.is_set():
                raise Interrupted(
                    "stopped between two chunks; what is copied is kept: run the same command again, "
                    "without --restart, to go on"
                )

        began, copied = time.monotonic(), 0
        for chunk in copy_replica(follower, pause=heed):
            copied += chunk.rows
        follower.catch_up(head(follower.sender.cursor(), follower.bound.stream))
        name, progress = follower.bound.replica.name, follower.begun()
        evidence = {"rows": copied, "total_rows": progress.rows, "position": progress.position}
        record(follower.bound.stream, "replica", "replica_copied", {"replica": name} | evidence, options["reason"])
        return evidence | {"seconds": round(time.monotonic() - began, 3)}

    def _drop(self, follower: Follower, reason: str) -> dict[str, Any]:
        follower.forget()
        record(follower.bound.stream, "replica", "replica_dropped", {"replica": follower.bound.replica.name}, reason)
        return {"dropped": True}

    def _verify(self, playbook: type[Playbook], replicas: list[Replica], options: dict[str, Any]) -> dict[str, Any]:
        began, clock = time.time(), time.monotonic()
        tables: list[TableResult] = []
        position = repaired = 0
        for replica in replicas:
            with following(playbook.source, playbook.context, replica) as follower:
                refuse_other_owner(follower.sender, follower.bound)
                if not follower.begun().done:
                    raise TransferError(
                        f"replica {replica.name!r} is not copied to its end; "
                        f"run strangle_replica {playbook.context} copy --only {replica.name}"
                    )
                position, result = compare_replica(follower)
                if options["repair"] and result.count:
                    written = repair_replica(follower, result.differences)
                    repaired += written
                    evidence = {"replica": replica.name, "keys": written}
                    record(playbook.context, "replica", "replica_repaired", evidence, options["reason"])
                    position, result = compare_replica(follower)
                tables.append(result)
        report = VerificationReport(
            context=playbook.context,
            direction="replica",
            position=position,
            started=began,
            seconds=time.monotonic() - clock,
            tables=tables,
        )
        base = Path(getattr(django_settings, "BASE_DIR", "."))
        place = Path(options["directory"] or base / "var" / "reports" / playbook.context / "replicas")
        files, told = write_or_tell(report, place, "name another place with --directory")
        found = [{"replica": t.target_table, "rows": t.rows, "differences": t.count, **t.by_class} for t in tables]
        verdict = "equal" if report.equal else f"{report.differences} differences"
        outcome = self._outcome(
            playbook,
            found,
            f"{playbook.context!r}: {report.rows:,} rows of {len(tables)} replicas compared: {verdict}. {told}",
        )
        outcome["evidence"] |= {
            "repaired": repaired,
            "by_class": report.by_class,
            "report": str(files["json"]) if files else None,
        }
        return outcome | {"differences_found": not report.equal, "unwritten": not files}


def _apply(follower: Follower) -> dict[str, Any]:
    follower.catch_up(head(follower.sender.cursor(), follower.bound.stream))
    return {"position": follower.begun().position}


def _describe(follower: Follower) -> dict[str, Any]:
    end = head(follower.sender.cursor(), follower.bound.stream)
    progress = follower.store.progress(follower.bound.shape)
    if progress is None:
        return {"state": "not copied", "position": None, "behind": end, "rows": 0}
    state = "in sync" if progress.done else "copying"
    if progress.declaration != follower.bound.shape.declaration:
        state = "of an older playbook"
    return {"state": state, "position": progress.position, "behind": end - progress.position, "rows": progress.rows}


def _plan(action: str, replica: Replica) -> str:
    sentences = {
        "copy": f"Copy the rows of {replica.of!r} into {replica.into!r} of store {replica.store!r}, or go on with it.",
        "sync": f"Apply the changes of {replica.of!r} to {replica.into!r} of store {replica.store!r}.",
        "verify": f"Compare {replica.of!r} with {replica.into!r} of store {replica.store!r}.",
        "drop": f"Drop {replica.into!r} in store {replica.store!r} and let the stream forget it.",
    }
    return sentences[action]


def _chosen(playbook: type[Playbook], only: str | None) -> list[Replica]:
    names = {replica.name: replica for replica in playbook.replicas}
    if not names:
        raise SettingsError(
            f"the playbook of {playbook.context!r} declares no replicas; see docs/reference/playbook.md"
        )
    if only is None:
        return list(names.values())
    if only not in names:
        raise SettingsError(f"the playbook of {playbook.context!r} has no replica {only!r}{nearest(only, names)}")
    return [names[only]]
