"""Keep replicas in sync until told to stop: each by its own position, through every outage of source and stores."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from migration_tools.errors import StaleCheckpoint, StrangleError, TransferError
from migration_tools.playbook.replicas import Replica
from migration_tools.stores.opening import open_store
from migration_tools.stores.postgres import connect, describe_failure, errors
from migration_tools.transfer.replicas import Follower, bind, refuse_other_owner

log = logging.getLogger(__name__)

IDLE_SECONDS = 0.05
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
# How often an idle replica asks whether its context has been handed over.
OWNER_STEPS = 100


@contextmanager
def following(alias: str, stream: str, replica: Replica) -> Iterator[Follower]:
    """A replica bound to what is installed in the source, with its store and connections, for the block."""
    with ExitStack() as stack:
        sender = stack.enter_context(connect(alias, f"replica {replica.name}"))
        reader = stack.enter_context(connect(alias, f"replica {replica.name} reader"))
        store = open_store(replica.store)
        stack.callback(store.close)
        yield Follower(bind(sender, stream, replica), store, sender, reader)


class Sync:
    """Follows the stream for one replica on one thread; `failure` is why it gave up, if it did."""

    def __init__(self, alias: str, stream: str, replica: Replica):
        self.alias = alias
        self.stream = stream
        self.replica = replica
        self.failure: StrangleError | None = None

    def run(self, stop: threading.Event, on_position: Callable[[int], None] | None = None) -> None:
        """Work until `stop` is set, or until nothing but an operator can help."""
        pause = FIRST_PAUSE_SECONDS
        while not stop.is_set():
            try:
                with following(self.alias, self.stream, self.replica) as follower:
                    for position in self._steps(follower, stop):
                        pause = FIRST_PAUSE_SECONDS
                        if on_position is not None:
                            on_position(position)
            except (TransferError, StaleCheckpoint) as error:
                self.failure = error
                return
            except (StrangleError, errors.Error, OSError) as error:
                log.warning(
                    "replica %s: %s; trying again",
                    self.replica.name,
                    describe_failure(error),
                    extra={"context": self.stream},
                )
                stop.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _steps(self, follower: Follower, stop: threading.Event) -> Iterator[int]:
        at, idle = -1, 0
        while not stop.is_set():
            position = follower.step().position
            yield position
            if position == at:
                # Only at the stream's end: what the monolith wrote before the cutover is applied first.
                if idle % OWNER_STEPS == 0:
                    refuse_other_owner(follower.sender, follower.bound)
                idle += 1
                stop.wait(IDLE_SECONDS)
            at = position


def run_all(syncs: Sequence[Sync], stop: threading.Event) -> None:
    """Run each on a thread of its own; one that gives up leaves the others at work.

    Raises:
        StrangleError: after the end, the first reason why one gave up.
    """
    threads = [threading.Thread(target=sync.run, args=(stop,), name=f"replica {sync.replica.name}") for sync in syncs]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.2)
    for sync in syncs:
        if sync.failure is not None:
            raise sync.failure
