"""The Celery adapter: publishes the errands of backfills, and is the task that workers carry them out with.

The only file that imports celery. A task is told which lease to carry out; what it does and what is known of it is in
the lease (see Note [a lease is taken by one]), so no result backend is needed, and a task that is lost, late or
delivered twice changes nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from celery import Celery
from celery.exceptions import OperationalError

from migration_tools.conf import settings
from migration_tools.stores.postgres import connect
from migration_tools.transfer.leases import Errand, Leases, carry_out
from migration_tools.transfer.pieces import Crew

QUEUE = "strangle"
# An errand is for the stop that gave it; later it would find that over.
EXPIRES_SECONDS = 60

TASK = "strangle.copy_piece"


def make_app() -> Any:
    """A Celery application on the broker that the settings name."""
    made = Celery("strangle", set_as_current=False)
    made.conf.update(
        broker_url=settings().BACKFILL_BROKER_URL or settings().BROKER_URL,
        broker_connection_retry_on_startup=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_acks_on_failure_or_timeout=True,
        task_default_queue=QUEUE,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
    )
    made.task(_copy_piece, name=TASK)
    return made


@contextmanager
def celery_workers(sender: str, receiver: str, count: int) -> Iterator[Crew]:
    """`count` pieces at a time for whichever workers listen; see Crew."""
    publisher = make_app()
    with connect(receiver, "backfill leases") as conn, publisher.connection_for_write() as broker:

        def send(errand: Errand) -> None:
            try:
                publisher.send_task(
                    TASK,
                    kwargs=asdict(errand),
                    connection=broker,
                    expires=EXPIRES_SECONDS,
                    retry=True,
                    retry_policy={"max_retries": 2, "interval_start": 0.1, "interval_max": 0.2},
                )
            except OperationalError:
                # A broker that is away is as a worker that is: the piece is not taken, and copied by the caller.
                leases.nobody_answers()

        leases = Leases(sender, conn, receiver, count, send)
        yield leases


def _copy_piece(**errand: Any) -> bool:
    return carry_out(Errand(**errand))
