"""The Celery adapter: workers wake the sagas that the runner hands out; what is lost or comes twice changes nothing.

A task names a saga and says nothing else: `wake` reads whether its time has come, under the lock of its row. So it is
acknowledged late, and delivered again when its worker died.
"""

from typing import Any

from celery import Celery
from celery.exceptions import OperationalError

from migration_tools.conf import settings
from migration_tools.errors import TransportError
from migration_tools.sagas.orchestrator import wake
from migration_tools.sagas.runner import Send

QUEUE = "strangle_sagas"
TASK = "strangle.wake_saga"
# A task that was not taken by then is handed out again anyway.
EXPIRES_SECONDS = 60


def make_app() -> Any:
    """A Celery application on the broker that the settings name."""
    made = Celery("strangle_sagas", set_as_current=False)
    made.conf.update(
        broker_url=settings().SAGA_BROKER_URL or settings().BROKER_URL,
        broker_connection_retry_on_startup=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_default_queue=QUEUE,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
    )
    made.task(_wake, name=TASK)
    return made


def sender() -> Send:
    """What the runner hands sagas out by."""
    app = make_app()

    def send(saga_id: str) -> None:
        try:
            app.send_task(TASK, args=[saga_id], expires=EXPIRES_SECONDS, retry=False)
        except OperationalError as error:
            raise TransportError(f"the broker of the sagas' workers does not answer: {error}") from error

    return send


def _wake(saga_id: str) -> bool:
    return wake(saga_id)
