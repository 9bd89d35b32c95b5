"""Run the operator's process: carry out what the console asks for, and observe every context for it."""

import sys
import threading
from typing import Any

from django.core.management.base import CommandParser

from migration_tools.management.examples import Examples
from migration_tools.management.signals import heed_signals
from migration_tools.overview.running import RequestRunner


class Command(Examples):
    """Works until SIGTERM; a second one stands by and takes over."""

    help = "Carry out moves that the console asks for, each in a process of its own, and observe every context for it."
    examples = ("", "--every 5")
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--every", type=float, default=3.0, help="seconds between two observations (default 3)")

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        with heed_signals(stop):
            RequestRunner(every=options["every"], say=_say).run(stop)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
