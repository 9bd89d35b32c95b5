"""Look at sagas, try a stuck one again or undo it with a reason, draw what is declared, and run what is due."""

import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError, CommandParser
from django.db import connections

from migration_tools.conf import settings
from migration_tools.errors import ExitCode, SagaError
from migration_tools.management.examples import Examples
from migration_tools.management.saga_flows import flow_result
from migration_tools.management.signals import heed_signals
from migration_tools.sagas import orchestrator, reading
from migration_tools.sagas.reading import Overview
from migration_tools.sagas.runner import Runner

NEED_ONE = {"show", "retry", "compensate"}


class Command(Examples):
    """list | show | retry | compensate | graph | draft | run, on the sagas that this service orchestrates."""

    left_by_a_failure = "nothing was changed by what was not reported"
    help = "List, show, retry or compensate sagas, draw their flow, or run what is due."
    examples = ("list",)
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["list", "show", "retry", "compensate", "graph", "draft", "run"])
        parser.add_argument("saga_id", nargs="?", default="", help="of show, retry and compensate")
        parser.add_argument("--stuck", action="store_true", help="list: only those that need somebody")
        parser.add_argument("--all", action="store_true", help="list: those that have ended, too")
        parser.add_argument("--context", default="", help="list: of this context alone")
        parser.add_argument("--reason", default="", help="why, for the log; compensate needs one")
        parser.add_argument("--dry-run", action="store_true", help="retry, compensate: say what would be done")
        parser.add_argument("--reveal", action="store_true", help="show: with the payload, which may be personal data")
        parser.add_argument(
            "--with", action="append", default=[], metavar="FILE", help="graph: join another service's, made with json"
        )
        parser.add_argument(
            "--trace", action="append", default=[], metavar="PATH", help="draft: a trace, or a directory of traces"
        )
        parser.add_argument("--celery", action="store_true", help="run: hand what is due to Celery's workers")
        parser.add_argument("--format", choices=["text", "json", "mermaid"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] != "draft" and not apps.is_installed("migration_tools.sagas"):
            raise CommandError("INSTALLED_APPS lacks 'migration_tools.sagas'; add it and migrate")
        if (options["action"] in NEED_ONE) != bool(options["saga_id"]):
            raise CommandError(f"{sorted(NEED_ONE)} take a saga's id, the others none", returncode=ExitCode.USAGE)
        if options["format"] == "mermaid" and options["action"] != "graph":
            raise CommandError("only graph has --format mermaid", returncode=ExitCode.USAGE)
        actions: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "list": _list,
            "show": _show,
            "retry": _retry,
            "compensate": _compensate,
            "graph": _graph,
            "draft": _draft,
            "run": _run,
        }
        result = actions[options["action"]](options)
        faults = result.get("faults", [])
        result["exit_code"] = int(ExitCode.ERROR if faults else ExitCode.DONE)
        if options["format"] == "json":
            self.stdout.write(json.dumps(result, default=str))
        else:
            for line in (*result.pop("lines"), result["message"]):
                self.stdout.write(line)
        if faults:
            raise CommandError("; ".join(fault["text"] for fault in faults), returncode=ExitCode.ERROR)


def _list(options: dict[str, Any]) -> dict[str, Any]:
    using = settings().DATABASE
    found = reading.overviews(using, context=options["context"], stuck=options["stuck"], ended=options["all"])
    need = sum(bool(each.why) for each in found)
    return {
        "sagas": [asdict(each) for each in found],
        "counts": reading.counts(using),
        "lines": [_line(each) for each in found],
        "message": f"{len(found)} sagas, {need} of them need somebody",
    }


def _line(each: Overview) -> str:
    why = f"  ! {each.why}" if each.why else ""
    return (
        f"{each.saga_id}  {each.saga} {each.version}  {each.status} {each.step + 1}/{each.steps}  "
        f"attempt {each.attempt}  {each.age_seconds:.0f} s  {each.aggregate or '-'}{why}"
    )


def _found(saga_id: str) -> Overview:
    found = reading.overview(settings().DATABASE, saga_id)
    if found is None:
        raise SagaError(f"this service orchestrates no saga {saga_id!r}; see strangle_sagas list --all")
    return found


def _show(options: dict[str, Any]) -> dict[str, Any]:
    using, found = settings().DATABASE, _found(options["saga_id"])
    log = reading.log_of(using, found.saga_id)
    payload = reading.payload_of(using, found.saga_id)
    shown = payload if options["reveal"] else dict.fromkeys(payload, "hidden")
    lines = [_line(found), f"  done {found.completed}, undone {found.compensated}"]
    lines += [f"  {e['at'][:19]}  {e['event']:12} {e['step']:12} {e['attempt']:3}  {e['reason']}" for e in log]
    lines.append(f"  payload {json.dumps(shown, ensure_ascii=False)}")
    hint = "" if options["reveal"] else "; values are hidden, --reveal shows them"
    return {"saga": asdict(found), "log": log, "payload": shown, "lines": lines, "message": f"shown{hint}"}


def _retry(options: dict[str, Any]) -> dict[str, Any]:
    before = _found(options["saga_id"])
    if options["dry_run"]:
        return _told(before, f"step {before.step + 1} of {before.steps} would be tried again at once ({before.status})")
    status = orchestrator.retry(before.saga_id, reason=options["reason"])
    _journal(before, "retried", options["reason"])
    return _told(_found(before.saga_id), f"tried again; it is {status.value}")


def _compensate(options: dict[str, Any]) -> dict[str, Any]:
    if not options["reason"].strip():
        raise CommandError("compensate needs --reason: what was done is undone", returncode=ExitCode.USAGE)
    before = _found(options["saga_id"])
    if options["dry_run"]:
        undone = list(reversed(before.completed)) or ["nothing"]
        return _told(before, f"would be undone, if it is before its pivot: {', '.join(undone)}")
    status = orchestrator.compensate(before.saga_id, reason=options["reason"])
    _journal(before, "recalled", options["reason"])
    return _told(_found(before.saga_id), f"turned back; it is {status.value}")


def _told(found: Overview, message: str) -> dict[str, Any]:
    return {"saga": asdict(found), "lines": [_line(found)], "message": message}


def _graph(options: dict[str, Any]) -> dict[str, Any]:
    return flow_result([Path(name) for name in options["with"]], mermaid=options["format"] == "mermaid")


def _draft(options: dict[str, Any]) -> dict[str, Any]:
    from migration_tools.management.saga_drafts import draft_result

    return draft_result([Path(name) for name in options["trace"]])


def _run(options: dict[str, Any]) -> dict[str, Any]:
    send = None
    if options["celery"]:
        from migration_tools.sagas.celery import sender

        send = sender()
    stop, woken = threading.Event(), 0

    def note(count: int) -> None:
        nonlocal woken
        woken += count

    with heed_signals(stop):
        Runner(send=send).run(stop, note)
    return {"woken": woken, "lines": [], "message": f"stopped; {woken} sagas were woken"}


def _journal(saga: Overview, step: str, reason: str) -> None:
    """In the context's journal too, where this side has it; saga_log has it everywhere."""
    # A service has no journal of moves.
    tables = connections[settings().DATABASE].introspection.table_names()
    if apps.is_installed("migration_tools.state") and "strangle_journal" in tables:
        from migration_tools.state.journal import record

        record(saga.context, "sagas", step, {"saga_id": saga.saga_id, "saga": saga.saga}, reason)
