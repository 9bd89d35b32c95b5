"""One service of the storm: its handlers, relay and runner in one process, moved turn by turn, killed by its own dice.

`python -m tests.sagas.storm_service NAME` reads a line a turn and answers with lines; see tests.sagas.storm. The
process itself touches no database: for each life it forks a child, which the dice may kill at any named point.
"""

import contextlib
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import django
import psycopg

#: Passages that a life survives, on average, before it is killed, and before its database sessions are ended.
KILLED_EVERY, CUT_EVERY = 600, 150
POINTS = (
    "sagas.reacted", "sagas.reaction_published", "sagas.due_read", "sagas.answer_written", "sagas.claimed",
    "sagas.effect_written", "sagas.started", "sagas.answer_read", "sagas.answer_taken", "sagas.woken",
    "sagas.wake_committed", "sagas.wish_noted", "sagas.wish_committed", "sagas.state_written", "sagas.command_written",
    "sagas.done_here", "dead_letters.parked", "dead_letters.handled", "dead_letters.before_commit",
    "dead_letters.after_commit", "inbox.before_commit", "inbox.after_commit", "tick.before_row", "tick.before_commit",
)  # fmt: skip
END_SESSIONS = """SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = %s"""


def tell(**said: Any) -> None:
    """One line to the conductor, at once and whole: what was told before a kill counts."""
    os.write(1, json.dumps(said).encode() + b"\n")


class Fate:
    """Where a life is cut off: drawn at each named point that is passed."""

    def __init__(self, name: str, dsn: str) -> None:
        self.name, self.dsn = name, dsn
        self.dice = random.Random()
        self.calm = True

    def at(self, point: str) -> Callable[[], None]:
        """What happens at a point."""

        def passed() -> None:
            if self.calm:
                return
            drawn = self.dice.random()
            if drawn < 1 / KILLED_EVERY:
                tell(struck=f"killed at {point}")
                os.kill(os.getpid(), signal.SIGKILL)
            elif drawn < 1 / KILLED_EVERY + 1 / CUT_EVERY:
                tell(struck=f"sessions ended at {point}")
                with psycopg.connect(self.dsn, autocommit=True) as operator:
                    operator.execute(END_SESSIONS, [f"{self.name}_owner"])

        return passed


def main(name: str) -> None:
    """Fork lives until the conductor has no more turns."""
    django.setup()
    # Once for all lives.
    import tests.sagas.storm_turn  # noqa: F401

    while True:
        child = os.fork()
        if not child:
            try:
                live(name)
            except BaseException:
                import traceback

                tell(failed=traceback.format_exc()[-3000:])
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            return
        tell(died=True)


def turns() -> Iterator[dict[str, Any]]:
    """The conductor's lines, read to their ends and not further: the next life reads on."""
    line = b""
    while byte := os.read(0, 1):
        line += byte
        if byte == b"\n":
            yield json.loads(line)
            line = b""


def live(name: str) -> None:
    """Do what each turn asks for."""
    from migration_tools.kernel import points
    from migration_tools.messaging import consumer, inbox
    from tests.sagas.storm_turn import UNTOLD, Service

    # By the clock a consumer asks the feed beside a broker; here all that chance decides is drawn from the seed.
    consumer.RECEIPT_SECONDS = 1e12
    inbox.FIRST_PAUSE_SECONDS = 0.001
    dsns = json.loads(os.environ["STORM_DSNS"])
    fate = Fate(name, dsns[name])
    service = Service(name, dsns, fate.dice, tell)
    with contextlib.ExitStack() as armed:
        for point in (*POINTS, UNTOLD):
            armed.enter_context(points.on(point, fate.at(point)))
        for turn in turns():
            fate.dice.seed(f"{os.environ['STORM_SEED']} {name} {turn['number']}")
            fate.calm = turn["calm"]
            service.take(turn)
            tell(turn=turn["number"])


if __name__ == "__main__":
    main(sys.argv[1])
