"""The operator: runs the toolkit's commands as its user would, and reads the JSON that each prints."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from demo.processes import Supervisor
from demo.stack import CONTEXT, Stack

COMMAND_SECONDS = 150.0
GATE_SECONDS = 45.0
"""How long a move is tried again while its gate is not met (soak, lag), or while somebody is in the way."""


class Code(IntEnum):
    """Exit codes of the toolkit's commands."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    DIFFERENCES = 3
    GATE_NOT_MET = 4
    LOCKED = 5
    INTERRUPTED = 6
    ROLLED_BACK = 7


WORTH_ANOTHER_TRY = {Code.GATE_NOT_MET, Code.LOCKED, Code.ROLLED_BACK}


class CommandFailed(Exception):
    """A command ended with an exit code that the story did not expect."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command answered."""

    command: str
    code: int
    answer: dict[str, Any]
    errors: str
    started: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.started

    @property
    def evidence(self) -> dict[str, Any]:
        evidence = self.answer.get("evidence")
        return evidence if isinstance(evidence, dict) else {}

    @property
    def message(self) -> str:
        """What the command said, or the last line it complained with."""
        return str(self.answer.get("message") or (self.errors.strip().splitlines() or [""])[-1])


class Operator:
    """Runs ``manage.py strangle_…`` on one context, as the role that may see all databases."""

    def __init__(
        self, stack: Stack, supervisor: Supervisor, *, say: Callable[[str], None], context: str = CONTEXT
    ) -> None:
        self.context = context
        self._stack = stack
        self._supervisor = supervisor
        self._say = say
        self._pause = threading.Event()

    def call(self, command: str, *arguments: str) -> Outcome:
        """Run one command, whatever its exit code."""
        return self.tool(command, self.context, *arguments, "--format", "json")

    def tool(self, command: str, *arguments: str) -> Outcome:
        """Run one command of the toolkit as it is written here, whatever its exit code."""
        argv = [sys.executable, "manage.py", command, *arguments]
        started = time.monotonic()
        code, output, errors = self._supervisor.call(argv, self._stack.environment("strangler"), COMMAND_SECONDS)
        return Outcome(
            command=" ".join((command, *arguments)),
            code=code,
            answer=_answer(output),
            errors=errors,
            started=started,
            ended=time.monotonic(),
        )

    def expect(self, command: str, *arguments: str, codes: tuple[int, ...] = (Code.DONE,)) -> Outcome:
        """Run one command that must end with one of ``codes``.

        Raises:
            CommandFailed: It ended otherwise; the message carries what it printed.
        """
        outcome = self.call(command, *arguments)
        if outcome.code not in codes:
            raise CommandFailed(_complaint(outcome))
        return outcome

    def move(self, command: str, *arguments: str, seconds: float = GATE_SECONDS) -> Outcome:
        """Run a move; while its gate is not met or it was taken back, narrate why and try again.

        Raises:
            CommandFailed: It failed, or was still refused after ``seconds``.
        """
        deadline = time.monotonic() + seconds
        told = ""
        while True:
            outcome = self.call(command, *arguments)
            if outcome.code == Code.DONE:
                return outcome
            if outcome.code not in WORTH_ANOTHER_TRY or time.monotonic() > deadline:
                raise CommandFailed(_complaint(outcome))
            if outcome.message != told:
                told = outcome.message
                self._say(f"not yet: {told.strip().removeprefix('- ')}")
            self._pause.wait(0.25)

    def status(self) -> dict[str, Any]:
        return self.expect("strangle_status").evidence


def _answer(output: str) -> dict[str, Any]:
    """Decode the one JSON object of a command's standard output; {} when there is none."""
    start = output.find("{")
    try:
        answer = json.loads(output[start:]) if start >= 0 else {}
    except json.JSONDecodeError:
        answer = {}
    return answer if isinstance(answer, dict) else {}


def _complaint(outcome: Outcome) -> str:
    printed = outcome.errors.strip() or json.dumps(outcome.answer, ensure_ascii=False)
    ended = f"ended with exit code {outcome.code} after {outcome.seconds:.1f} s"
    return f"{outcome.command} {ended}:\n{printed[-3000:]}"
