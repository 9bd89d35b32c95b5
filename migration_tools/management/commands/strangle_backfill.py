"""Phase 3: copy the history of a context beside live writes; pause, resume or cancel that from another terminal."""

import threading
from typing import Any

from django.core.management.base import CommandParser

from migration_tools.kernel.locks import LockClass
from migration_tools.management.operation import Operation
from migration_tools.playbook.registry import get
from migration_tools.state.journal import phase_of, record
from migration_tools.state.phase import Phase
from migration_tools.stores.postgres import advisory, connect
from migration_tools.transfer.control import Wish, ask

DONE = {
    Wish.PAUSE: "{0!r} copies no further chunk until strangle_backfill {0} --resume; the sync goes on",
    Wish.RUN: "{0!r} may be copied",
    Wish.CANCEL: "the copy of {0!r} ends before its next chunk; run strangle_backfill {0} to go on",
}


class Command(Operation):
    """dual_write → backfill; run it again to resume."""

    help = "Copy the context's history into the service beside live writes; resumes where it stopped."
    examples = (
        "orders",
        "orders --workers 4",
        'orders --pause --reason "sale at noon"',
        "orders --dry-run --format json",
    )
    purpose = "backfill"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--restart", action="store_true", help="forget checkpoints and copy everything anew")
        parser.add_argument("--replace", action="store_true", help="delete target rows that the source does not have")
        parser.add_argument("--workers", type=_workers, help="how many copy at once; default: BACKFILL_WORKERS")
        wishes = parser.add_mutually_exclusive_group()
        for wish, text in (
            (Wish.PAUSE, "let a copy that runs elsewhere, or begins later, wait"),
            (Wish.RUN, "let it go on"),
            (Wish.CANCEL, "end it before its next chunk; its checkpoint is kept"),
        ):
            name = "--resume" if wish is Wish.RUN else f"--{wish.value}"
            wishes.add_argument(name, dest="wish", action="store_const", const=wish, help=text)

    def operate(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        if options["wish"] is not None:
            return _wish(options["context"], options["wish"], options["reason"], touch=not options["dry_run"])
        with self.surroundings(options, stop) as env:
            return self.move(env, Phase.BACKFILL, options)


def _wish(context: str, wish: Wish, reason: str, *, touch: bool) -> dict[str, Any]:
    with connect(get(context).source, "control") as conn:
        running = advisory.holder(conn, LockClass.OPERATOR, context)
    message = DONE[wish].format(context)
    if wish is Wish.CANCEL and running is None:
        message, touch = f"no copy of {context!r} runs; there is nothing to cancel", False
    if touch:
        ask(context, wish, reason)
        record(context, "backfill", {"run": "resumed"}.get(wish.value, f"{wish.value} asked for"), reason=reason)
    return {
        "phase_after": phase_of(context).value,
        "evidence": {"wish": wish.value, "running": running},
        "message": message,
    }


def _workers(text: str) -> int:
    count = int(text)
    if not 1 <= count <= 64:
        raise ValueError("from 1 to 64")
    return count
