"""What a request can set off outside its databases, mail and tasks: noted and kept back while a shadow read runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend


class Attempts:
    """What a shadow request tried to write, each name once."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def add(self, name: str) -> None:
        if name not in self.names:
            self.names.append(name)


_current: ContextVar[Attempts | None] = ContextVar("strangler_shadow", default=None)
_quenched = False


def current() -> Attempts | None:
    """The attempts of the shadow request that this code runs in; None in any other."""
    return _current.get()


@contextmanager
def watching(attempts: Attempts) -> Iterator[None]:
    """Keep back mail and tasks for the length of the block, noting each attempt."""
    token = _current.set(attempts)
    try:
        yield
    finally:
        _current.reset(token)


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
    quench_tasks(current)


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
