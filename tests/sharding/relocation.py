"""A customer moves to another region, as a saga: what a project that shards by geography writes."""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from migration_tools.sagas.declaring import declare
from migration_tools.sagas.definition import NOTHING, Rejected, Retry, Saga, Step
from migration_tools.sagas.participant import Command, compensates, performs
from migration_tools.sharding import relocating
from migration_tools.sharding.relocating import CannotRelocate, Relocation

STREAM = "homes"
QUICK = Retry(attempts=30, first=dt.timedelta(milliseconds=20), longest=dt.timedelta(milliseconds=200))
KNOWN: Any = {"stream": STREAM, "replies": STREAM, "group": STREAM}


def step(name: str, compensation: str = "", *, pivot: bool = False) -> Step:
    """A step that this service asks of itself: the stores are two, so each is a transaction and a message."""
    return Step(name, command=f"home.{name}", compensation=compensation, replies=STREAM, pivot=pivot, retry=QUICK,
                timeout=dt.timedelta(seconds=2), keeps=())  # fmt: skip


MOVE_HOME = declare(
    Saga(
        "move_home",
        stream=STREAM,
        group=STREAM,
        steps=(
            step("close", "home.reopen"),
            step("copy", "home.discard"),
            step("verify", NOTHING),
            step("switch", pivot=True),
            step("erase"),
        ),
    )
)


def does(work: Callable[[Relocation], object]) -> Callable[[Command], Mapping[str, Any] | None]:
    """A participant's function of one step; a final no of the store is the business's no."""

    def function(command: Command) -> None:
        try:
            work(Relocation(id=command.saga_id, **command.data))
        except CannotRelocate as no:
            raise Rejected(no.code) from no

    return function


for name in ("close", "copy", "verify", "switch", "erase"):
    performs(f"home.{name}", **KNOWN)(does(getattr(relocating, name)))
for name in ("reopen", "discard"):
    compensates(f"home.{name}", **KNOWN)(does(getattr(relocating, name)))
