"""Locks that hold writers up: had in short turns, so that writers queue for none, or not at all."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from migration_tools.conf import settings
from migration_tools.errors import FenceBusy
from migration_tools.stores.postgres import Connection, errors, transaction


@contextmanager
def behind(conn: Connection, take: Callable[[], None], what: str) -> Iterator[float]:
    """Run the block in a transaction that has taken its locks; `what` is what they hold, for the refusal.

    Raises:
        FenceBusy: not within CUTOVER_BUDGET_SECONDS; nothing was changed.
    """
    deadline = time.monotonic() + settings().CUTOVER_BUDGET_SECONDS
    had = False
    while True:
        try:
            with transaction(conn, lock_timeout_seconds=settings().LOCK_TIMEOUT_SECONDS):
                take()
                had = True
                yield time.monotonic()
            return
        except errors.LockNotAvailable:
            if had:
                raise  # the block's own
            if time.monotonic() > deadline:
                raise FenceBusy(
                    f"{what} is written by a long transaction; nothing was changed, run the same command again"
                ) from None
            time.sleep(random.uniform(0.02, 0.1))  # noqa: S311  (no secret)
