"""Count live sessions in the table and in Redis, and move them to where SESSIONS says, beside their users."""

import json
import sys
import threading
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.utils import Error as DatabaseFailure

from migration_tools.conf import settings
from migration_tools.errors import ExitCode, StoreError
from migration_tools.management.examples import Examples
from migration_tools.management.signals import heed_signals
from migration_tools.stores.postgres import describe_failure, errors


class Command(Examples):
    """status | move: on the engine `migration_tools.sessions.bridge`."""

    help = "Count live sessions in the table and in Redis, or move them to where MIGRATION_TOOLS['SESSIONS'] says."
    examples = ("status", "move --dry-run", "move")
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["status", "move"])
        parser.add_argument("--dry-run", action="store_true", help="move: tell what would be moved; touch nothing")
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        only_looks = options["action"] == "status" or options["dry_run"]
        try:
            with heed_signals(stop):
                result = _status() if only_looks else _move(stop)
        except (DatabaseFailure, errors.Error) as error:
            raise CommandError(
                f"the database failed: {describe_failure(error)}; nobody is logged out, run the same command again",
                returncode=ExitCode.ERROR,
            ) from error
        for risk in result["risks"]:
            print(f"warning: {risk}", file=sys.stderr)
        self.stdout.write(json.dumps(result) if options["format"] == "json" else result["message"])
        if result["exit_code"]:
            raise CommandError(result["message"], returncode=result["exit_code"])


def _status() -> dict[str, Any]:
    from migration_tools.sessions import moving
    from migration_tools.sessions.redis_side import RedisSessions

    home = settings().SESSIONS
    redis = RedisSessions()
    try:
        found, risks = moving.counts(), redis.risks()
    except redis.failures as error:
        raise StoreError(f"Redis failed: {error}") from error
    away = moving.away_of(found, home)
    return {
        "home": home,
        **asdict(found),
        "risks": risks,
        "exit_code": int(ExitCode.DONE),
        "message": f"{found.table} live sessions are in the table, {found.redis} in Redis; new ones are made in "
        f"{'the table' if home == 'table' else 'Redis'}, and a move would carry {away} there. "
        f"{found.ended} rows have ended, which clearsessions takes away",
    }


def _move(stop: threading.Event) -> dict[str, Any]:
    from migration_tools.sessions import moving
    from migration_tools.sessions.redis_side import RedisSessions

    done = moving.move(stop)
    home = "the table" if settings().SESSIONS == "table" else "Redis"
    said = [f"{done.moved} sessions were moved to {home}"]
    if done.unreadable:
        said.append(
            f"{done.unreadable} were signed with a key that this process does not have and stayed; "
            "run this with the SECRET_KEY and SECRET_KEY_FALLBACKS of the web processes"
        )
    if done.left:
        said.append(f"{done.left} are elsewhere still: some process makes them there; let all have the same SESSIONS")
    return {
        **asdict(done),
        "risks": RedisSessions().risks() if home == "Redis" else [],
        "exit_code": int(ExitCode.DIFFERENCES if done.unreadable or done.left else ExitCode.DONE),
        "message": "; ".join(said),
    }
