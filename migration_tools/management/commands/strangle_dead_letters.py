"""Look at parked events, have a key's events handled again, or give one up with a reason."""

import json
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError, CommandParser
from django.db import connections

from migration_tools.conf import settings
from migration_tools.errors import ExitCode, StrangleError
from migration_tools.management.examples import Examples
from migration_tools.messaging import dead_letters
from migration_tools.messaging.dead_letters import Key, Letter
from migration_tools.messaging.groups import group_of, inbox_name
from migration_tools.messaging.handling import HandlerFailed
from migration_tools.messaging.redaction import hidden
from migration_tools.stores.postgres import django_connection

log = logging.getLogger(__name__)


class Command(Examples):
    """list | show | replay | skip, on this side's parked events of one stream."""

    left_by_a_failure = "nothing was changed by what was not reported"
    help = "List, show, replay or skip events whose handler failed."
    examples = ("list orders", "replay orders --key order/7", 'skip orders --position 41 --reason "customer was told"')
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["list", "show", "replay", "skip"])
        parser.add_argument("stream")
        parser.add_argument(
            "--group", default="", help="of this group of handlers (default: of the side's own consumer)"
        )
        parser.add_argument("--key", help="the events of one aggregate, as type/id")
        parser.add_argument("--position", type=int, help="the event at this position; for replay: all of its key")
        parser.add_argument("--event", default="", help="only if the event of this id is among them")
        parser.add_argument("--reason", default="", help="why; needed by skip, whose event is never handled")
        parser.add_argument(
            "--reveal", action="store_true", help="show payloads and failures, which may be personal data"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="replay, skip: say which events it is about; touch nothing"
        )
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        result = self._act(options)
        failed = result.get("failed", [])
        result["exit_code"] = int(ExitCode.ERROR if failed else ExitCode.DONE)
        if options["format"] == "json":
            self.stdout.write(json.dumps(result, default=str))
        else:
            for row in result["events"]:
                self.stdout.write(
                    f"{row['position']}  {row['type']} {row['version']}  {row['aggregate']}  {row['reason']}"
                )
                if "payload" in row:
                    self.stdout.write(f"    {json.dumps(row['payload'], ensure_ascii=False)}")
            self.stdout.write(result["message"])
        if failed:
            raise CommandError(
                "; ".join(
                    f"{each['aggregate']} failed again at {each['position']}: {each['reason']}" for each in failed
                )
                + ". Its events stay parked; mend the handler, then replay again",
                returncode=ExitCode.ERROR,
            )

    def _act(self, options: dict[str, Any]) -> dict[str, Any]:
        inbox = inbox_name(options["stream"], options["group"])
        conn = django_connection(settings().DATABASE)
        key = _key(options["key"])
        found = dead_letters.letters(conn, inbox, key=key, position=options["position"])
        if not found and (key or options["position"] is not None):
            raise StrangleError(f"no such event of {inbox!r} is parked; strangle_dead_letters list {options['stream']}")
        if options["event"] and options["event"] not in {str(each.event.event_id) for each in found}:
            raise StrangleError(
                f"event {options['event']} of {inbox!r} is not parked there (any more); "
                f"strangle_dead_letters list {options['stream']}"
            )
        actions: dict[str, Callable[[str, list[Letter], dict[str, Any]], dict[str, Any]]] = {
            "list": self._list,
            "show": self._show,
            "replay": self._replay,
            "skip": self._skip,
        }
        return actions[options["action"]](inbox, found, options)

    def _list(self, inbox: str, found: list[Letter], options: dict[str, Any]) -> dict[str, Any]:
        keys = len({letter.key for letter in found})
        return {"events": _rows(found), "message": f"{len(found)} events of {keys} aggregates are parked"}

    def _show(self, inbox: str, found: list[Letter], options: dict[str, Any]) -> dict[str, Any]:
        rows = [{**row, **_insides(each, options["reveal"])} for row, each in zip(_rows(found), found, strict=True)]
        hint = "" if options["reveal"] else "; values are hidden, --reveal shows them"
        return {"events": rows, "message": f"{len(found)} events{hint}"}

    def _replay(self, inbox: str, found: list[Letter], options: dict[str, Any]) -> dict[str, Any]:
        """Each key in a transaction of its own; one that fails again stays whole, the others go on."""
        if options["dry_run"]:
            keys = len({letter.key for letter in found})
            told = f"{len(found)} events of {keys} aggregates would be handled again; nothing was touched"
            return {"events": _rows(found), "message": told}
        done: list[Letter] = []
        failed: list[dict[str, Any]] = []
        for key in dict.fromkeys(letter.key for letter in found):
            try:
                handled = dead_letters.replay(
                    inbox,
                    key,
                    using=settings().DATABASE,
                    reason=options["reason"],
                    note=partial(_journal, inbox, "replayed", options["reason"]),
                )
            except HandlerFailed as failure:
                place = {"aggregate": "/".join(key), "position": failure.event.position, "reason": failure.reason}
                failed.append(place | ({"detail": failure.detail} if options["reveal"] else {}))
                continue
            done += handled
        return {"events": _rows(done), "failed": failed, "message": f"{len(done)} events were handled"}

    def _skip(self, inbox: str, found: list[Letter], options: dict[str, Any]) -> dict[str, Any]:
        if options["position"] is None or not options["reason"].strip():
            raise CommandError("skip needs --position and --reason: its effect is lost", returncode=ExitCode.USAGE)
        if options["dry_run"]:
            return {"events": _rows(found), "message": "would be given up, its effect lost; nothing was touched"}
        letter, left = dead_letters.skip(
            inbox,
            options["position"],
            using=settings().DATABASE,
            reason=options["reason"],
            note=partial(_journal, inbox, "skipped", options["reason"]),
        )
        rest = f"; {left} of the same aggregate still wait, replay them" if left else ""
        return {"events": _rows([letter]), "left": left, "message": f"given up{rest}"}


def _key(text: str | None) -> Key | None:
    if text is None:
        return None
    kind, slash, name = text.partition("/")
    if not slash:
        raise CommandError(f"--key {text!r} is not type/id, as list shows it", returncode=ExitCode.USAGE)
    return kind, name


def _rows(letters: Iterable[Letter]) -> list[dict[str, Any]]:
    return [
        {
            "position": each.position,
            "event_id": str(each.event.event_id),
            "type": each.event.event_type,
            "version": each.event.event_version,
            "aggregate": "/".join(each.key),
            "attempts": each.attempts,
            "reason": each.reason,
            "parked_at": each.parked_at,
        }
        for each in letters
    ]


def _insides(letter: Letter, reveal: bool) -> dict[str, Any]:
    if reveal:
        event = letter.event
        return {"payload": event.payload, "metadata": event.metadata, "detail": letter.detail}
    return {"payload": hidden(letter.event.payload), "metadata": hidden(letter.event.metadata)}


def _journal(inbox: str, step: str, reason: str, letters: list[Letter]) -> None:
    """In the context's journal too, where this side has it; strangle_dead_letter_log has it everywhere."""
    positions = [letter.position for letter in letters]
    log.warning("dead letters of %s at %s: %s", inbox, positions, step, extra={"context": inbox})
    # A service has no journal of moves.
    tables = connections[settings().DATABASE].introspection.table_names()
    if apps.is_installed("migration_tools.state") and "strangle_journal" in tables:
        from migration_tools.state.journal import record

        stream, group = group_of(inbox)
        evidence = {"positions": positions, **({"group": group} if group else {})}
        record(stream, "dead letters", step, evidence, reason)
