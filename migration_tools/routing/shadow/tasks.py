"""Celery's tasks, noted and kept back while a shadow read runs."""

from typing import Any

from celery import Celery

from migration_tools.routing.shadow.attempts import current


def quench_tasks() -> None:
    """Publish no task while a shadow request runs; once for the process.

    Every way to send a task (delay, apply_async, canvases) ends in Celery.send_task; eager ones run in the request
    and are kept from writing as its view is.
    """
    send_task = Celery.send_task

    def guarded_task(self: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        attempts = current()
        if attempts is None:
            return send_task(self, name, *args, **kwargs)
        attempts.add("task")
        return self.AsyncResult(kwargs.get("task_id") or "kept-back-by-a-shadow-read")

    Celery.send_task = guarded_task
