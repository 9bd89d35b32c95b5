"""Have a group of handlers take a stream's events again, or for the first time, from any position on."""

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from migration_tools.conf import settings
from migration_tools.errors import ExitCode, StrangleError, TransferError
from migration_tools.kernel.actors import actor
from migration_tools.management.examples import Examples
from migration_tools.messaging.dead_letters import count, hold_inbox
from migration_tools.messaging.groups import inbox_name
from migration_tools.messaging.handlers import registered
from migration_tools.messaging.inbox import identity, move_to, positions, refuse_foreign
from migration_tools.messaging.transports import open_feed


class Command(Examples):
    """Sets the position; the group's consumer goes on from there. Rows are never applied again."""

    help = "Set where a group's consumer goes on."
    examples = ("orders --group counts --after 0",)
    left_by_a_failure = "nothing was changed"
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("stream", help="a stream that MIGRATION_TOOLS['FEEDS'] names")
        parser.add_argument("--group", default="", help="which group of handlers (default: the side's own consumer)")
        parser.add_argument("--after", type=int, required=True, help="the position to go on after; 0 is the beginning")
        parser.add_argument("--again", action="store_true", help="even though the group has handled what follows")
        parser.add_argument("--reason", default="", help="why; needed with --again")
        parser.add_argument("--dry-run", action="store_true", help="check and say what would be; touch nothing")
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["after"] < 0 or (options["again"] and not options["reason"].strip()):
            raise CommandError("--after is 0 or more, and --again needs --reason", returncode=ExitCode.USAGE)
        result = _replay(options)
        self.stdout.write(json.dumps(result) if options["format"] == "json" else result["message"])


def _replay(options: dict[str, Any]) -> dict[str, Any]:
    stream, group, after = options["stream"], options["group"], options["after"]
    inbox, alias = inbox_name(stream, group), settings().DATABASE
    if not any(registered(stream, group)):
        raise StrangleError(
            f"no handler of {stream!r} is in group {group!r} here; declare one with @handles(..., group={group!r})"
        )
    # Asked without a receipt: a position that cannot be served must not hold the owner's retention back.
    try:
        batch = open_feed(stream, group).peek(after)
    except TransferError as error:
        raise TransferError(f"{inbox!r} cannot go on after {after}: {error}; nothing was changed") from error
    with transaction.atomic(using=alias, durable=True):
        conn = hold_inbox(inbox, alias)
        at = positions(conn, inbox, lock=True)[0]
        for name in dict.fromkeys([inbox, stream]):
            refuse_foreign(batch, name, identity(conn, name))
        if after < at and not options["again"]:
            raise StrangleError(
                f"{inbox!r} has handled everything up to {at}; with --again and a --reason it handles what follows "
                f"{after} once more: effects that are not idempotent happen twice. A new group begins with none"
            )
        if after > at and (at or not group):
            raise StrangleError(
                f"{inbox!r} has handled everything up to {at}; going on after {after} would leave events out. "
                f"For that there is strangle_consume {stream} --from-head"
            )
        waiting = count(conn, inbox)
        if waiting and after < at:
            raise StrangleError(
                f"{waiting} events of {inbox!r} are parked; replay or skip them first (strangle_dead_letters), so that "
                "none of them overtakes an earlier one"
            )
        if options["dry_run"]:
            transaction.set_rollback(True, using=alias)
            return _told(options, inbox, at, batch.head)
        move_to(conn, inbox, after, rows=False, identity=batch.identity)
        conn.execute(
            """INSERT INTO strangle_dead_letter_log (stream, position, event_id, event_type, outcome, actor, reason)
               VALUES (%s, %s, '', '', 'rewound', %s, %s)""",
            [inbox, after, actor(), options["reason"]],
        )
    return _told(options, inbox, at, batch.head)


def _told(options: dict[str, Any], inbox: str, at: int, head: int) -> dict[str, Any]:
    stream, group, after = options["stream"], options["group"], options["after"]
    message = (
        f"{inbox!r} goes on after {after} (it was at {at}, the stream ends at {head}); run "
        f"strangle_consume {stream}{f' --group {group}' if group else ''}"
    )
    if options["dry_run"]:
        message = f"{inbox!r} would go on after {after} (it is at {at}, the stream ends at {head}); nothing was touched"
    return {"stream": stream, "group": group, "before": at, "after": after, "head": head, "message": message}
