"""Mail and tasks, which a request sets off outside its databases: noted and kept back while a shadow read runs."""

from typing import Any

from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend

from migration_tools.routing.shadow.attempts import current

_quenched = False


def quench() -> None:
    """Teach Django's mail, and Celery where it is installed, to heed `watching`; once for the process."""
    global _quenched
    if _quenched:
        return
    _quenched = True
    _quench_mail()
    try:
        from migration_tools.routing.shadow.tasks import quench_tasks
    except ImportError:
        return  # without Celery there are no tasks
    quench_tasks()


class _Unsent(BaseEmailBackend):
    """Takes messages and sends none; the caller sees them accepted, as it would see a real backend take them."""

    def send_messages(self, email_messages: Any) -> int:
        if (attempts := current()) is not None:
            attempts.add("mail")
        return len(email_messages)


def _quench_mail() -> None:
    # Both doors: get_connection is what send_mail and its like use, send() is what a message with its own backend does.
    get_connection, send = mail.get_connection, mail.EmailMessage.send

    def guarded_connection(*args: Any, **kwargs: Any) -> Any:
        return get_connection(*args, **kwargs) if current() is None else _Unsent()

    def guarded_send(self: Any, *args: Any, **kwargs: Any) -> int:
        return send(self, *args, **kwargs) if current() is None else _Unsent().send_messages([self])

    mail.get_connection = guarded_connection
    setattr(mail.EmailMessage, "send", guarded_send)  # noqa: B010  (mypy would hold it to be a method)
